"""Ranks and hypervolumes agree with moocore, which shares no code with them, on sets full of ties."""

from __future__ import annotations

import random

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vevolve.archive import pareto
from vevolve.archive.standing import Standing

COORDINATES = st.one_of(
    st.integers(0, 4).map(lambda tick: tick / 4), st.floats(-2, 2, allow_nan=False, allow_subnormal=False)
)


def sets(objectives: int, most: int = 24) -> st.SearchStrategy[list[pareto.Loss]]:
    """Losses with duplicates, equal coordinates, and some beyond the reference point of ones."""
    loss = st.tuples(*[COORDINATES] * objectives)
    return st.lists(loss, min_size=1, max_size=most).flatmap(
        lambda losses: st.lists(st.sampled_from(losses), max_size=4).map(lambda again: losses + again)
    )


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_ranks_and_fronts_are_those_of_moocore(objectives: int, data: st.DataObject) -> None:
    losses = data.draw(sets(objectives))
    table = np.array(losses)
    if objectives == 1:  # moocore ranks from two objectives on
        table = np.hstack([table, table])
    assert pareto.ranks(losses) == (moocore.pareto_rank(table) + 1).tolist()
    best = {loss for loss, kept in zip(losses, moocore.is_nondominated(table, keep_weakly=True), strict=True) if kept}
    assert set(pareto.front(losses)) == best


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_hypervolume_is_that_of_moocore(objectives: int, data: st.DataObject) -> None:
    losses, reference = data.draw(sets(objectives)), (1.0,) * objectives
    if objectives == 1:
        expected = max(0.0, 1.0 - min(losses)[0])
    else:
        expected = moocore.hypervolume(np.array(losses), ref=reference)
    assert pareto.hypervolume(losses, reference) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("objectives", [2, 3, 4])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_contributions_are_those_of_moocore(objectives: int, data: st.DataObject) -> None:
    front, reference = pareto.front(data.draw(sets(objectives, 12))), (1.0,) * objectives
    expected = moocore.hv_contributions(np.array(front), ref=reference)  # it gives 0 for those of about 1e-8
    for loss, worth in zip(front, expected, strict=True):
        standing = Standing(reference, [(str(other), other) for other in front])
        assert standing.contributions()[str(loss)] == pytest.approx(worth, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_gain_is_the_difference_of_hypervolumes(objectives: int, data: st.DataObject) -> None:
    known, new = data.draw(sets(objectives, 12)), data.draw(sets(objectives, 5))
    reference = (1.0,) * objectives
    difference = pareto.hypervolume([*known, *new], reference) - pareto.hypervolume(known, reference)
    assert pareto.gain(pareto.front(known), new, reference) == pytest.approx(difference, abs=1e-12)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_standing_fed_one_by_one_is_the_one_computed_at_once(objectives: int, data: st.DataObject) -> None:
    losses, reference = data.draw(sets(objectives)), (1.0,) * objectives
    fed = Standing(reference, [("0", losses[0])])
    for number, loss in enumerate(losses[1:], 1):
        fed.add(str(number), [loss])
        seen = losses[: number + 1]
        if number % 3 == 0:
            assert fed.ranks() == {str(i): rank for i, rank in enumerate(pareto.ranks(seen))}
    assert fed.ranks() == {str(i): rank for i, rank in enumerate(pareto.ranks(losses))}
    assert set(fed.front()) == set(pareto.front(losses))
    assert fed.hypervolume() == pytest.approx(pareto.hypervolume(losses, reference), abs=1e-12)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_the_front_and_the_changes_of_rank_follow_each_loss(objectives: int) -> None:
    chance, reference = random.Random(objectives), (1.0,) * objectives
    standing, seen, ranks = Standing(reference), list[pareto.Loss](), dict[str, int]()
    for number in range(80):
        loss = tuple(chance.randint(0, 9) / 9 for _ in reference)
        front, owners, edition = set(standing.front()), dict(standing.owners), standing.edition
        standing.add(str(number), [loss])
        seen.append(loss)
        assert set(standing.front()) == set(pareto.front(seen))
        same = front == set(standing.front()) and all(owners[one] == standing.owners[one] for one in front)
        assert (standing.edition == edition) == same
        if number % 3 == 0:
            changed = standing.settle()
            assert all(ranks.get(one) != rank for one, rank in changed.items())
            ranks.update(changed)
            assert ranks == {str(i): rank for i, rank in enumerate(pareto.ranks(seen))}


def test_a_point_on_the_edge_adds_nothing_and_hides_nothing() -> None:
    losses = [(0.1, 1.0), (0.2, 0.6), (0.5, 0.3), (1.0, 0.1)]
    alone = [pareto.gain([*losses[:i], *losses[i + 1 :]], [loss], (1.0, 1.0)) for i, loss in enumerate(losses)]
    assert pareto.contributions(losses, (1.0, 1.0)) == alone
    assert alone[0] == alone[3] == 0.0 < alone[1]


def test_a_candidate_ranks_by_its_best_point() -> None:
    standing = Standing((1.0, 1.0), [("a", (0.1, 0.9)), ("a", (0.8, 0.8)), ("b", (0.5, 0.5)), ("c", (0.6, 0.6))])
    assert standing.ranks() == {"a": 1, "b": 1, "c": 2}
    standing.add("d", [(0.4, 0.4)])
    assert standing.ranks() == {"a": 1, "b": 2, "c": 3, "d": 1}


def test_ten_thousand_random_losses_rank_as_moocore_says() -> None:
    for objectives in (2, 3):
        table = np.random.default_rng(objectives).random((10_000, objectives)).round(3)
        losses = [tuple(row) for row in table.tolist()]
        assert pareto.ranks(losses) == (moocore.pareto_rank(table) + 1).tolist()
