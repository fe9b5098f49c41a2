"""Ranks, fronts and hypervolumes follow from the points that were told and selected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vevolve.archive import Archive
from vevolve.archive.events import Selected, Started, Told
from vevolve.types import Candidate, Objective, Point, Verdict

Tell = Callable[..., Told]


def name(source: str) -> str:
    return Candidate(source).id


def test_the_front_holds_what_nothing_dominates_and_no_reference(
    archive: Archive, tell: Tell, fail: Callable[..., Verdict]
) -> None:
    archive.append(tell(0, "wide = 1", (0.01, 1.0), (1.0, 0.01), operation="seed"))
    archive.append(tell(1, "narrow = 1", (0.02, 0.02), (0.5, 0.5)))
    archive.append(tell(2, "worse = 1", (0.6, 0.6)))
    archive.append(tell(3, "REFERENCE = True", (0.005, 0.001)))
    invalid = fail("wrong").model_copy(update={"points": (Point(traffic=0.005, error=0.001),)})
    archive.append(tell(4, "cheat = 1", verdict=invalid))
    wide, narrow = name("wide = 1"), name("narrow = 1")

    assert [record.id for record in archive.front()] == [narrow, wide]
    assert [(record.id, point["traffic"]) for record, point in archive.front_points()] == [
        (wide, 0.01),
        (narrow, 0.02),
        (wide, 1.0),
    ]
    assert archive.ranks() == {wide: 1, narrow: 1, name("worse = 1"): 3}
    assert archive.record(name("REFERENCE = True")).reference
    assert archive.front("select") == [] and archive.front(family="llama3") == []


def test_fronts_of_splits_and_families_are_kept_apart(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.1, 0.1)), tell(2, "b = 1", (0.2, 0.2)))
    for source, select, llama in (("a = 1", (0.3, 0.3), (0.2, 0.2)), ("b = 1", (0.2, 0.2), (0.3, 0.3))):
        points = (*tell(0, "", select).verdict.points, *tell(0, "", llama, family="llama3").verdict.points)
        verdict = Verdict(valid=True, points=points)
        archive.append(Selected(iteration=3, candidate=name(source), verdict=verdict, promoted=source == "a = 1"))

    assert [record.source for record in archive.front("search")] == ["a = 1"]
    assert [record.source for record in archive.front("select")] == ["b = 1"]
    (best,) = archive.front("select", "llama3")
    assert best.source == "a = 1" and best.promoted
    assert [(point.split, point.family, point["error"]) for point in best.points] == [("select", "llama3", 0.2)]
    assert [point.split for point in archive.record(best.id).points] == ["search", "select", "select"]
    assert best.selected is not None and len(best.selected.points) == 2


def test_a_candidate_selected_again_is_judged_by_the_last_verdict(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.1, 0.1)))
    for traffic, promoted in ((0.1, True), (0.9, False)):
        verdict = tell(0, "", (traffic, 0.5)).verdict
        archive.append(Selected(iteration=2, candidate=name("a = 1"), verdict=verdict, promoted=promoted))
        assert [point["traffic"] for _, point in archive.front_points("select")] == [traffic]
        assert archive.record(name("a = 1")).promoted is promoted


def test_a_point_without_every_objective_is_kept_and_never_ranked(archive: Archive, tell: Tell) -> None:
    verdict = Verdict(valid=True, points=(Point(traffic=0.1), Point(traffic=0.5, error=0.5)))
    archive.append(tell(1, "a = 1", verdict=verdict))
    assert len(archive.record(name("a = 1")).points) == 2
    assert [point["traffic"] for _, point in archive.front_points()] == [0.5]


VALUES = st.one_of(st.sampled_from([0.001, 0.01, 0.1, 1.0, 20.0]), st.floats(0.0005, 30))
PROGRAMS = st.lists(st.lists(st.tuples(VALUES, VALUES), max_size=4), min_size=1, max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(programs=PROGRAMS)
def test_what_gain_foretells_is_what_the_hypervolume_grows_by(
    programs: list[list[tuple[float, float]]],
    tmp_path_factory: pytest.TempPathFactory,
    start: Callable[..., Started],
    tell: Tell,
) -> None:
    with Archive.create(tmp_path_factory.mktemp("run"), start()) as archive:
        curve: list[tuple[int, float]] = []
        for iteration, points in enumerate(programs, 1):
            told = tell(iteration, f"x = {iteration}", *points)
            before, promised = archive.hypervolume(), archive.gain(told.verdict.points)
            archive.append(told)
            assert archive.hypervolume() - before == pytest.approx(promised, abs=1e-9)
            if points:
                curve.append((iteration, archive.hypervolume()))
        with Archive.open(archive.path) as reader:
            assert reader.ranks() == archive.ranks()
            assert reader.hypervolume() == pytest.approx(archive.hypervolume(), abs=1e-12)
            found = reader.hypervolume_curve()
            assert [iteration for iteration, _ in found] == [iteration for iteration, _ in curve]
            assert [value for _, value in found] == pytest.approx([value for _, value in curve], abs=1e-9)
            middle = len(programs) // 2
            known = [value for iteration, value in curve if iteration <= middle]
            assert reader.hypervolume(upto=middle) == pytest.approx(known[-1] if known else 0.0, abs=1e-9)


def test_more_is_better_where_an_objective_says_max(tmp_path: Path, start: Callable[..., Started], tell: Tell) -> None:
    axis = Objective("sum", "max", worst=1.0)
    with Archive.create(tmp_path / "packing", start(objectives=(axis,))) as archive:
        for iteration, value in enumerate((2.0, 0.5, 2.5, 2.2)):
            verdict = Verdict(valid=True, points=(Point(sum=value),))
            assert archive.gain(verdict.points) == pytest.approx(max(0.0, value - 1 - archive.hypervolume()))
            archive.append(tell(iteration, f"x = {iteration}", verdict=verdict))
        assert [point["sum"] for _, point in archive.front_points()] == [2.5]
        assert [archive.ranks()[name(f"x = {i}")] for i in range(4)] == [3, 4, 1, 2]
        assert archive.hypervolume() == pytest.approx(1.5)
        assert archive.hypervolume_curve() == [(0, 1.0), (1, 1.0), (2, 1.5), (3, 1.5)]
