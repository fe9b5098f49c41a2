"""Ask: which programs the next one is made from.

A choice is a pure function of a view and a seed. A view is the fold of the run's `Told` events up to some iteration,
so that what is known when a question is put together depends on the event log alone and never on timing. It holds
`search` numbers only, because a `Told` event holds no others.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vevolve.archive.events import Told
from vevolve.archive.fold import traits
from vevolve.archive.reading import loss_of
from vevolve.evolve.proposers.contract import Operation
from vevolve.evolve.weights import Weights
from vevolve.prompts import Failure
from vevolve.types import Candidate, Objective, Point, Seed, Split, Status, Verdict

EXPLORE = 0.2
"""Share of parents drawn evenly from all valid candidates."""
CROSSOVER = 0.2
"""Share of questions with two parents."""
REPAIR = 0.05
"""Share of questions that mend a recent failure, while something valid is known; otherwise all do."""
DONORS = 2
"""Other good candidates whose functions may be borrowed."""
RECENT = 16
"""Failures that are remembered for repair."""
SHOWN = 6
"""Failures that a prompt tells of."""

NOT_EVALUATED: tuple[Status, ...] = ("duplicate", "unapplied")
"""What ends an iteration without an examination: it counts for no budget and leaves nothing to mend."""


@dataclass(frozen=True)
class Choice:
    """What an iteration starts from: ids of candidates that were told.

    Attributes:
        operation: what is asked for.
        parents: edits apply to the first.
        donors: programs to borrow from.
    """

    operation: Operation
    parents: tuple[str, ...]
    donors: tuple[str, ...] = ()


class View:
    """What is known through one iteration."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.through = -1
        self.barren = 0
        """Iterations in a row, the latest included, that led to no examination."""
        self.valid: list[str] = []
        self.failed: deque[str] = deque(maxlen=RECENT)
        """Those that may be mended, oldest first."""
        self.recent: deque[Failure] = deque(maxlen=SHOWN)
        """What a model is told not to repeat."""
        self._objectives = tuple(objectives)
        self.weights = Weights(tuple(axis.loss(axis.worst) for axis in self._objectives))
        """Of `valid`, in its order."""

    def tell(self, told: Told, candidate: Candidate) -> None:
        """Take in the next iteration."""
        self.through = told.iteration
        self.weights.wear(told.parents)
        for parent in told.parents:
            if parent in self.failed and self.valid:
                self.failed.remove(parent)
        verdict = told.verdict
        self.barren = self.barren + 1 if verdict.status in NOT_EVALUATED else 0
        if verdict.valid and not is_reference(candidate) and candidate.id not in self.weights:
            self.valid.append(candidate.id)
            losses = [loss_of(point.model_extra or {}, self._objectives) for point in points_of(verdict)]
            self.weights.add(candidate.id, [loss for loss in losses if loss is not None])
        elif not verdict.valid and verdict.status not in NOT_EVALUATED:
            self.failed.append(candidate.id)
            self.recent.append(Failure(told.idea, verdict.status, verdict.feedback[:400]))


def points_of(verdict: Verdict, split: Split = "search", family: str = "") -> list[Point]:
    """The operating points of one split and family; an invalid verdict has none."""
    return [point for point in verdict.points if verdict.valid and (point.split, point.family) == (split, family)]


def is_reference(candidate: Candidate) -> bool:
    """Whether a program declares itself a line on the plots: never a parent, never a donor."""
    return traits(candidate)[1]


def choose(view: View, seed: Seed) -> Choice:
    """Parents, donors and operation for one iteration. The view must hold at least one candidate."""
    random_ = random.Random(seed.integer)
    if view.failed and (not view.valid or random_.random() < REPAIR):
        return Choice("repair", (random_.choice(view.failed),), tuple(_several(view, random_, DONORS, ())))
    if not view.valid:
        raise LookupError("nothing to start from: no candidate is valid, and none can be mended")
    parents = [random_.choice(view.valid) if random_.random() < EXPLORE else _several(view, random_, 1, ())[0]]
    operation: Operation = "mutate"
    if len(view.valid) > 1 and random_.random() < CROSSOVER:
        operation = "crossover"
        parents += _several(view, random_, 1, parents)
    return Choice(operation, tuple(parents), tuple(_several(view, random_, DONORS, parents)))


def _several(view: View, random_: random.Random, count: int, besides: Sequence[str]) -> list[str]:
    """Up to `count` different valid candidates by weight, none of `besides`."""
    sums, found, taken = view.weights.sums(), list[str](), set(besides)
    count = min(count, len(view.valid) - sum(one in view.weights for one in taken))
    while len(found) < count:
        place = int(np.searchsorted(sums, random_.random() * sums[-1], side="right"))
        one = view.valid[min(place, len(sums) - 1)]
        if one in taken:
            # Few candidates may hold nearly all the weight: an even draw keeps this short.
            one = random_.choice(view.valid)
        if one not in taken:
            taken.add(one)
            found.append(one)
    return found
