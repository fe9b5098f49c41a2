"""The page of a run that timed what it promoted."""

from pathlib import Path

import pytest
from tests.archive.web.conftest import started, story

from vevolve.archive import Archive
from vevolve.archive.events import Latency, Measured, Selected
from vevolve.types import Objective, Point, Verdict

AXES = (Objective("latency_us", "min", worst=1e4, best=1.0, scale="log10"),)


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    latency = Latency(family="GPU", objectives=AXES, gpu="NVIDIA TEST", version=1, protocol="f" * 64)
    with Archive.create(tmp_path / "runs" / "20260101-timed", started(latency=latency)) as archive:
        ids = story(archive)
        for place, micro in ((0, 90.0), (3, 40.0)):
            point = Point(label="128 tokens", split="select", traffic=0.4, error=0.5 - place / 10)
            verdict = Verdict(valid=True, points=(point,), problem="c0ffee")
            archive.append(Selected(iteration=place, candidate=ids[place], verdict=verdict, promoted=True))
            fast = Point(label="one step", split="select", family="GPU", latency_us=micro)
            archive.append(
                Measured(iteration=place, candidate=ids[place], incumbent=ids[0], points=(fast,), feedback="timed")
            )
    return tmp_path / "runs"


@pytest.mark.parametrize("path", ["", "/table", "/lineage", "/costs", "/failures"])
@pytest.mark.parametrize("query", ["", "?split=select&family=GPU", "?split=select&family=GPU&x=iteration&y=latency_us"])
def test_pages_of_a_run_with_times_are_served(path: str, query: str, timed: Path, serve) -> None:
    status, _, text = serve(timed).ask(f"/run/20260101-timed{path}{query}")
    assert status == 200, text[-500:]


def test_the_family_of_what_was_timed_can_be_chosen_and_a_candidate_shows_its_times(timed: Path, serve) -> None:
    served = serve(timed)
    assert served.data("/run/20260101-timed/table.json")["families"] == ["GPU"]
    with Archive.open(timed / "20260101-timed") as archive:
        (best,) = archive.front("select", "GPU")
    status, _, text = served.ask(f"/run/20260101-timed/c/{best.id[:10]}")
    assert status == 200 and best.points[0]["latency_us"] == 40.0 and "one step" in text
