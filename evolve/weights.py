"""How likely each valid program is to be a parent: a fold of iterations, brought up to date by what each one changes.

A run asks after every iteration, and most of what it asks for has not changed since. So ranks and children are kept
in arrays by place, and one pass over these makes the running sums that are drawn from.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vevolve.archive.pareto import Loss, contributions
from vevolve.archive.standing import Standing


class Weights:
    """One over the Pareto rank of a program's best operating point, and so on.

    That is up to doubled by what its points alone add to the hypervolume of the front, and divided by one more than
    the number of its children (as ShinkaEvolve does, so that no parent is worn out).

    Args:
        reference: the reference point of the hypervolume.
    """

    def __init__(self, reference: Loss) -> None:
        self._standing = Standing(reference)
        self._place: dict[str, int] = {}
        self._ranks = array("d")
        """By place; 0 for a program without points, which comes after all others."""
        self._children = array("d")
        self._worth: dict[int, float] = {}
        """By place, where there is any: of the front at `_edition`."""
        self._edition = self._standing.edition
        self._sums: NDArray[np.float64] | None = None

    def __contains__(self, candidate: object) -> bool:
        return candidate in self._place

    def add(self, candidate: str, losses: Iterable[Loss]) -> None:
        """Give a program the next place, by the losses of its points."""
        self._place[candidate] = len(self._place)
        self._ranks.append(0)
        self._children.append(0)
        self._standing.add(candidate, losses)
        self._sums = None

    def wear(self, parents: Sequence[str]) -> None:
        """Count a child of each. Those without a place are left out."""
        for parent in parents:
            if parent in self._place:
                self._children[self._place[parent]] += 1
                self._sums = None

    def sums(self) -> NDArray[np.float64]:
        """The running sums of all weights, by place."""
        if self._sums is None:
            for candidate, rank in self._standing.settle().items():
                self._ranks[self._place[candidate]] = rank
            if self._edition != self._standing.edition:
                self._edition, self._worth = self._standing.edition, self._found_worth()
            ranks, children = np.array(self._ranks), np.array(self._children)
            ranks[ranks == 0] = ranks.max(initial=0) + 1
            worth = np.ones(len(ranks))
            for place, own in self._worth.items():
                worth[place] += own
            self._sums = np.cumsum(worth / (ranks * (1 + children)))
        return self._sums

    def _found_worth(self) -> dict[int, float]:
        """Place -> the sum over its points of what the front would lose without that point, 0 to 1."""
        front = self._standing.front()
        worth: dict[int, float] = {}
        for loss, alone in zip(front, contributions(front, self._standing.reference), strict=True):
            owners = self._standing.owners[loss]
            for owner in owners:
                place = self._place[owner]
                worth[place] = worth.get(place, 0.0) + alone / len(owners)
        most = max(worth.values(), default=0.0) or 1.0
        return {place: own / most for place, own in worth.items()}
