"""What counts as better than the seed."""

from __future__ import annotations

import pytest

from vevolve.archive.events import Selected, Told
from vevolve.evolve.progress import improvements
from vevolve.types import Candidate, Point, Verdict


@pytest.fixture
def archive(plane, tmp_path):
    with plane.begin(tmp_path, plane.settings()) as archive:
        yield archive


def tell(archive, number, *points):
    source = f"N = {number}\n"
    search = tuple(Point(label=f"{n}", left=left, right=right) for n, (left, right) in enumerate(points))
    select = tuple(point.model_copy(update={"split": "select"}) for point in search)
    archive.append(
        Told(
            iteration=number,
            source=source,
            operation="mutate" if number else "seed",
            proposer="x",
            verdict=Verdict(valid=True, points=search),
        ),
        Selected(
            iteration=number,
            candidate=Candidate(source).id,
            verdict=Verdict(valid=True, points=select),
            promoted=True,
        ),
    )
    return Candidate(source).id


@pytest.mark.parametrize(
    ("point", "share"),
    [
        ((0.5, 0.5), None),
        ((0.5, 0.48), None),
        ((0.5, 0.475), 0.05),
        ((0.5, 0.25), 0.5),
        ((0.45, 0.4), 0.2),
        ((0.4, 0.51), None),
        ((0.51, 0.1), None),
    ],
)
def test_five_percent_in_one_and_no_worse_in_the_other(archive, point, share):
    tell(archive, 0, (0.5, 0.5))
    tell(archive, 1, point)
    found = improvements(archive)
    assert max((round(one.share, 9) for one in found), default=None) == share


def test_each_point_of_the_seed_has_its_greatest_gain_which_reads_as_a_sentence(archive):
    tell(archive, 0, (0.2, 0.8), (0.8, 0.2))
    small = tell(archive, 1, (0.2, 0.7))
    great = tell(archive, 2, (0.4, 0.2))
    tell(archive, 3, (0.2, 0.72), (0.5, 0.2))
    first, second = improvements(archive)
    assert (first.candidate.id, second.candidate.id) == (small, great)
    assert (first.objective, first.over["left"]) == ("right", 0.2)
    assert (second.objective, second.over["left"]) == ("left", 0.8)
    assert str(second).startswith(f"{great[:8]} at 0: left 0.8 -> 0.4 (50% better)")


def test_a_seed_alone_improves_on_nothing(archive):
    tell(archive, 0, (0.5, 0.5), (0.4, 0.6))
    assert improvements(archive) == []
