"""What was timed on a GPU: a family of points with objectives of its own, and a fold of the log like all else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive import Archive, report
from vevolve.archive.events import Latency, Measured, Selected, Started, Told
from vevolve.types import Candidate, Objective, Point, Verdict

AXES = (
    Objective("error", "min", worst=10.0, best=0.001, scale="log10"),
    Objective("latency_us", "min", worst=1e4, best=1.0, scale="log10"),
)
LATENCY = Latency(family="GPU", objectives=AXES, gpu="NVIDIA | TEST", version=1, protocol="f" * 64)
PROGRAMS = {name: f"{name} = 1" for name in ("seed", "fast", "faulty", "right")}


def name(program: str) -> str:
    return Candidate(PROGRAMS[program]).id


def measured(program: str, *times: tuple[float, float]) -> Measured:
    points = tuple(
        Point(label="128 tokens", split="select", family="GPU", error=error, latency_us=micro) for error, micro in times
    )
    return Measured(iteration=1, candidate=name(program), incumbent=name("seed"), points=points, feedback="timed")


@pytest.fixture
def timed(tmp_path: Path, start: Callable[..., Started], tell: Callable[..., Told]) -> Any:
    with Archive.create(tmp_path / "timed", start(latency=LATENCY)) as archive:
        for number, (program, source) in enumerate(PROGRAMS.items()):
            archive.append(tell(number, source, (0.5 - number / 10, 0.5), operation="mutate" if number else "seed"))
            point = Point(label="128 tokens", split="select", traffic=0.5 - number / 10, error=0.5)
            verdict = Verdict(valid=True, points=(point,), problem="c0ffee")
            archive.append(Selected(iteration=number, candidate=name(program), verdict=verdict, promoted=True))
        yield archive


def test_points_that_were_timed_are_ranked_by_their_own_objectives_as_they_come_and_after_reopening(timed) -> None:
    assert timed.front("select", "GPU") == [] and timed.hypervolume("select", "GPU") == 0
    before = timed.ranks("select")
    timed.append(measured("seed", (0.5, 100.0)))
    timed.append(measured("fast", (0.5, 40.0)))
    timed.append(measured("faulty"))
    timed.append(measured("right", (0.1, 60.0)))
    assert timed.objectives_on("GPU") == AXES and timed.objectives_on() == timed.objectives
    for archive in (timed, Archive.open(timed.path)):
        assert archive.ranks("select", "GPU") == {name("fast"): 1, name("right"): 1, name("seed"): 2}
        assert [(record.id, point["latency_us"]) for record, point in archive.front_points("select", "GPU")] == [
            (name("right"), 60.0),
            (name("fast"), 40.0),
        ]
        # log10 of 10 / .1 times that of 10000 / 60, and what the faster one adds.
        assert archive.hypervolume("select", "GPU") == pytest.approx(2 * 2.2218 + 1.3010 * (2.3979 - 2.2218), abs=1e-3)
        assert archive.hypervolume_curve("select", "GPU")[-1][1] == archive.hypervolume("select", "GPU")
        assert archive.ranks("select") == before, "no other front knows of times"
        assert archive.record(name("faulty")).points_on("select", "GPU") == ()
        assert set(archive.measured()) == {name(program) for program in PROGRAMS}
        archive.verify()
    timed.rebuild()
    assert timed.ranks("select", "GPU")[name("seed")] == 2


def test_a_later_measurement_takes_the_place_of_an_earlier_one(timed) -> None:
    timed.append(measured("fast", (0.5, 40.0)), measured("seed", (0.5, 60.0)))
    assert timed.ranks("select", "GPU")[name("seed")] == 2
    timed.append(measured("fast", (0.5, 80.0)))
    assert timed.ranks("select", "GPU") == {name("seed"): 1, name("fast"): 2}
    assert [point["latency_us"] for point in timed.record(name("fast")).points_on("select", "GPU")] == [80.0]
    assert len(timed.record(name("fast")).points_on("select")) == 1
    timed.verify()


def test_a_reader_sees_what_a_writer_measures(timed) -> None:
    with Archive.open(timed.path) as reader:
        assert reader.ranks("select", "GPU") == {}
        timed.append(measured("fast", (0.5, 40.0)))
        assert reader.ranks("select", "GPU") == {name("fast"): 1}


def test_a_report_has_the_front_of_what_was_timed_and_how_many_times_do_not_count(timed) -> None:
    timed.append(measured("fast", (0.5, 40.0)), measured("faulty"))
    facts = report.facts(timed, "run")
    text = report.markdown(facts)
    assert "## Front on ` NVIDIA | TEST `" in text and "2 programs, of which the time of 1 does not count" in text
    assert f"| ` 128 tokens ` | 0.5 | 40 | ` {name('fast')[:10]} ` |" in text
    pytest.importorskip("jinja2")
    assert "Front on NVIDIA | TEST" in report.html(facts)


def test_a_run_that_times_nothing_says_nothing_of_it(archive: Archive, tell: Callable[..., Told]) -> None:
    archive.append(tell(0, "seed = 1", (0.5, 0.5), operation="seed"))
    assert report.facts(archive, "run")["timed"] is None and "Front on NVIDIA" not in report.markdown(
        report.facts(archive, "run")
    )
    assert archive.measured() == {}
