"""Pareto rank and exact hypervolume, in plain Python: an archive opens without numpy.

A loss is a tuple with one number per objective, all to be minimised (`vevolve.types.Objective.loss` makes them so).
`a` dominates `b` where it is nowhere larger and somewhere smaller; equal losses do not dominate each other. The
hypervolume is the volume between a set of losses and a reference point, the worst value of every objective.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from operator import le
from typing import Protocol, TypeAlias

Loss: TypeAlias = tuple[float, ...]


def dominates(a: Loss, b: Loss) -> bool:
    """Whether `a` is nowhere larger than `b` and somewhere smaller."""
    return a != b and all(map(le, a, b))


class Layer(Protocol):
    """Distinct losses of which none dominates another."""

    @property
    def losses(self) -> Collection[Loss]:
        """The members."""
        ...

    def covers(self, loss: Loss) -> bool:
        """Whether a member is nowhere larger than `loss`."""
        ...

    def put(self, batch: Sequence[Loss]) -> list[Loss]:
        """Take in losses, none covered by a member nor by another of them; return the members they dominate.

        A batch is either one loss, or what a `put` into the layer above has just returned, in that order.
        """
        ...


class Staircase:
    """A layer for two objectives: ascending in the first and so descending in the second, found by bisection."""

    def __init__(self, losses: Iterable[Loss] = ()) -> None:
        self.losses: list[Loss] = sorted(losses)

    def covers(self, loss: Loss) -> bool:
        """Whether a member is nowhere larger than `loss`. O(log n)."""
        at = bisect_right(self.losses, (loss[0], math.inf))
        return at > 0 and self.losses[at - 1][1] <= loss[1]

    def put(self, batch: Sequence[Loss]) -> list[Loss]:
        """Take in a batch, return what it dominates. O(log n) and one slice.

        What a batch dominates is one run of the staircase: a member between two dominated ones that no loss of the
        batch dominates would have been free of the layer above as well.
        """
        start, end = self._run(batch[0], batch[-1])
        out = self.losses[start:end]
        self.losses[start:end] = batch
        return out

    def widen(self, loss: Loss, reference: Loss) -> float:
        """Take in one loss that may be covered, and return the area it adds below `reference`, which is above all."""
        if self.covers(loss):
            return 0.0
        start, end = self._run(loss, loss)
        height = self.losses[start - 1][1] if start else reference[1]
        left, area = loss[0], 0.0
        for x, y in self.losses[start:end]:
            area += (x - left) * (height - loss[1])
            left, height = x, y
        right = self.losses[end][0] if end < len(self.losses) else reference[0]
        self.losses[start:end] = [loss]
        return area + (right - left) * (height - loss[1])

    def _run(self, first: Loss, last: Loss) -> tuple[int, int]:
        start = bisect_left(self.losses, (first[0],))
        return start, bisect_right(self.losses, -last[1], start, key=lambda loss: -loss[1])


class Set:
    """A layer for any number of objectives, searched one by one.

    Comparing the first, second and last number rules most members out at a sixth of the price of a whole comparison.
    """

    def __init__(self, losses: Iterable[Loss] = ()) -> None:
        self.losses: dict[Loss, None] = dict.fromkeys(losses)

    def covers(self, loss: Loss) -> bool:
        """Whether a member is nowhere larger than `loss`. O(n)."""
        x, y, z = _ends(loss)
        near = [member for member in self.losses if member[0] <= x and member[1] <= y and member[-1] <= z]
        return any(all(map(le, member, loss)) for member in near)

    def put(self, batch: Sequence[Loss]) -> list[Loss]:
        """Take in a batch, return what it dominates. O(n · batch)."""
        x, y, z = _ends(tuple(map(min, *batch)) if len(batch) > 1 else batch[0])
        near = [member for member in self.losses if member[0] >= x and member[1] >= y and member[-1] >= z]
        out = [member for member in near if any(all(map(le, loss, member)) for loss in batch)]
        for member in out:
            del self.losses[member]
        self.losses.update(dict.fromkeys(batch))
        return out


class Least:
    """A layer for one objective or none: it holds one loss."""

    def __init__(self, losses: Iterable[Loss] = ()) -> None:
        self.losses: list[Loss] = list(losses)

    def covers(self, loss: Loss) -> bool:
        """Whether the member is not larger than `loss`."""
        return bool(self.losses) and self.losses[0] <= loss

    def put(self, batch: Sequence[Loss]) -> list[Loss]:
        """Take the place of the member, and return it."""
        out, self.losses = self.losses, list(batch)
        return out


def layer(objectives: int, losses: Iterable[Loss] = ()) -> Layer:
    """The layer that fits this number of objectives."""
    if objectives < 2:
        return Least(losses)
    return Staircase(losses) if objectives == 2 else Set(losses)


def _ends(loss: Loss) -> tuple[float, float, float]:
    return loss[0], loss[1], loss[-1]


def layers(losses: Iterable[Loss]) -> list[list[Loss]]:
    """The distinct losses by Pareto rank: the first list is the front, the next is the front of the rest, and so on.

    Losses are taken in lexicographic order, so that only earlier ones dominate later ones and the first objective
    needs no more looking at: a binary search over the layers (they nest) asks each one about the other objectives.
    O(n log n) for two objectives, O(n log² n) for three, O(n²) at worst beyond (Zhang et al., "An Efficient Approach
    to Nondominated Sorting", IEEE TEC 2015, calls the scheme ENS-BS).
    """
    ordered = sorted(set(losses))
    found: list[list[Loss]] = []
    if not ordered:
        return found
    shadows: list[Layer] = []
    for loss in ordered:
        rest = loss[1:]
        low, high = 0, len(shadows)
        while low < high:
            middle = (low + high) // 2
            if shadows[middle].covers(rest):
                low = middle + 1
            else:
                high = middle
        if low == len(shadows):
            shadows.append(layer(len(rest)))
            found.append([])
        shadows[low].put([rest])
        found[low].append(loss)
    return found


def ranks(losses: Sequence[Loss]) -> list[int]:
    """The Pareto rank of each loss; 1 is the front. Equal losses have equal ranks."""
    rank = {loss: number for number, found in enumerate(layers(losses), 1) for loss in found}
    return [rank[loss] for loss in losses]


def front(losses: Iterable[Loss]) -> list[Loss]:
    """The distinct losses that no other dominates, in lexicographic order."""
    found: list[Loss] = []
    shadow: Layer | None = None
    for loss in sorted(set(losses)):
        rest = loss[1:]
        if shadow is None:
            shadow = layer(len(rest))
        elif shadow.covers(rest):
            continue
        shadow.put([rest])
        found.append(loss)
    return found


def hypervolume(losses: Iterable[Loss], reference: Loss) -> float:
    """The exact volume that `losses` dominate below `reference`; a loss that is not below it everywhere adds none.

    O(n log n) for two objectives; a sweep over the last objective for three; beyond, exclusive volumes by limiting
    sets (While et al., "A Fast Way of Calculating Exact Hypervolumes", IEEE TEC 2012).
    """
    inside = {loss for loss in losses if all(x < r for x, r in zip(loss, reference, strict=True))}
    return _volume(front(inside), reference) if inside else 0.0


def gain(known: Iterable[Loss], new: Iterable[Loss], reference: Loss) -> float:
    """What `new` would add to the hypervolume of `known`, losses of which none dominates another."""
    below = [loss for loss in known if all(x < r for x, r in zip(loss, reference, strict=True))]
    inside = front(loss for loss in new if all(x < r for x, r in zip(loss, reference, strict=True)))
    if len(reference) == 2:
        stairs = Staircase(below)
        return math.fsum(stairs.widen(loss, reference) for loss in inside)
    total = 0.0
    for loss in inside:
        total += _exclusive(loss, below, reference)
        below.append(loss)
    return total


def contributions(losses: Sequence[Loss], reference: Loss) -> list[float]:
    """For each of distinct losses of which none dominates another, the hypervolume that would be lost without it."""
    if len(reference) == 2:
        inside = [i for i, (x, y) in enumerate(losses) if x < reference[0] and y < reference[1]]
        order = sorted(inside, key=losses.__getitem__)
        result = [0.0] * len(losses)
        for place, index in enumerate(order):
            x, y = losses[index]
            right = losses[order[place + 1]][0] if place + 1 < len(order) else reference[0]
            above = losses[order[place - 1]][1] if place else reference[1]
            result[index] = (right - x) * (above - y)
        return result
    return [gain([*losses[:i], *losses[i + 1 :]], [loss], reference) for i, loss in enumerate(losses)]


def _exclusive(loss: Loss, others: Iterable[Loss], reference: Loss) -> float:
    """The volume below `loss` that none of `others` dominates."""
    box = math.prod(r - x for x, r in zip(loss, reference, strict=True))
    limited = [tuple(map(max, loss, other)) for other in others]
    if loss in limited:
        return 0.0
    return max(0.0, box - _volume(front(limited), reference)) if limited else box


def _volume(losses: list[Loss], reference: Loss) -> float:
    """The hypervolume of a front, every loss of which is below the reference."""
    objectives = len(reference)
    if objectives == 1:
        return reference[0] - losses[0][0]
    if objectives == 2:
        stairs = Staircase()
        return math.fsum(stairs.widen(loss, reference) for loss in losses)
    if objectives == 3:
        return _sweep(losses, reference)
    ordered = sorted(losses, key=lambda loss: loss[-1], reverse=True)
    return math.fsum(_exclusive(loss, ordered[i + 1 :], reference) for i, loss in enumerate(ordered))


def _sweep(losses: list[Loss], reference: Loss) -> float:
    """Three objectives: the area in the first two, integrated over the third."""
    stairs, area, slabs = Staircase(), 0.0, list[float]()
    ordered = sorted(losses, key=lambda loss: loss[2])
    for place, loss in enumerate(ordered):
        area += stairs.widen(loss[:2], reference[:2])
        upper = ordered[place + 1][2] if place + 1 < len(ordered) else reference[2]
        slabs.append(area * (upper - loss[2]))
    return math.fsum(slabs)
