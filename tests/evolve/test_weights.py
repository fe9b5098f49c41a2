"""Weights: kept up to date, they are those that follow from all iterations at once."""

from __future__ import annotations

import gc
import itertools
import random

import pytest

from vevolve.archive import pareto
from vevolve.evolve.garbage import spared
from vevolve.evolve.weights import Weights


def sums_of(programs, children, reference):
    """The definition, from everything that is known."""
    losses = {loss for own in programs.values() for loss in own}
    rank = {loss: number for number, layer in enumerate(pareto.layers(losses), 1) for loss in layer}
    best = {name: min(rank[loss] for loss in own) for name, own in programs.items() if own}
    front = pareto.front(losses)
    alone = dict(zip(front, pareto.contributions(front, reference), strict=True))
    owners = {loss: [name for name, own in programs.items() if loss in own] for loss in front}
    worth = {
        name: sum(alone[loss] / len(owners[loss]) for loss in set(own) if loss in alone)
        for name, own in programs.items()
    }
    most, last = max(worth.values(), default=0.0) or 1.0, max(best.values(), default=0) + 1
    return list(
        itertools.accumulate(
            (1 + worth[name] / most) / (best.get(name, last) * (1 + children[name])) for name in programs
        )
    )


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("every", [1, 7])
def test_weights_follow_from_what_was_told_however_often_they_were_asked_for(objectives: int, every: int) -> None:
    chance, reference = random.Random(objectives), (1.0,) * objectives
    weights, programs, children = Weights(reference), {}, {}
    for number in range(60):
        name = str(number)
        points = [tuple(chance.randint(0, 10) / 10 for _ in reference) for _ in range(chance.randint(0, 3))]
        parents = chance.sample(sorted(programs), min(2, len(programs)))
        weights.wear([*parents, "nobody"])
        weights.add(name, points)
        programs[name], children[name] = points, 0
        for parent in parents:
            children[parent] += 1
        if number % every == 0:
            assert weights.sums().tolist() == pytest.approx(sums_of(programs, children, reference), rel=1e-12)
    assert weights.sums().tolist() == pytest.approx(sums_of(programs, children, reference), rel=1e-12)
    assert "59" in weights and "nobody" not in weights


def test_the_collector_passes_over_what_stood_before_and_is_as_it_was_after() -> None:
    before = gc.get_freeze_count()
    with spared():
        assert gc.get_freeze_count() > before
        with spared():  # a run within a run ends nothing
            pass
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() == before
