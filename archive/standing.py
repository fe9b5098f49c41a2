"""How candidates stand against each other on one split and family, kept up to date point by point.

Ranking 50,000 points anew takes tenths of a second, and the loop asks after every candidate. So the layers of all
ranks are kept, and a new loss only pushes down the runs that it dominates. Who asks for the front alone pays for no
more than that: other layers are made, and losses put in them, when ranks are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from vevolve.archive import pareto
from vevolve.archive.pareto import Layer, Loss

FEW = 8
"""New losses are put in one by one where all are more than so many times as many; else all layers are made anew."""


class Standing:
    """The Pareto layers of the losses of many candidates.

    Attributes:
        reference: the reference point of the hypervolume.
        owners: loss -> the candidates that have it.
        edition: another number wherever the front, or who owns a loss of it, is another.
    """

    def __init__(self, reference: Loss, rows: Iterable[tuple[str, Loss]] = ()) -> None:
        self.reference = reference
        self.edition = 0
        # Tuples of plain values, which the garbage collector need not walk as the run grows.
        self.owners: dict[Loss, tuple[str, ...]] = {}
        self._losses: dict[str, tuple[Loss, ...]] = {}
        for candidate, loss in rows:
            self._own(candidate, loss)
        self._front = pareto.layer(len(reference), pareto.front(self.owners))
        self._layers: list[Layer] = []
        self._rank: dict[Loss, int] = {}
        self._best: dict[str, int] = {}
        self._waiting = list(self.owners)
        self._moved: set[Loss] = set()
        self._joined: set[str] = set()
        self._numbered = 0

    def __contains__(self, candidate: str) -> bool:
        return candidate in self._losses

    def add(self, candidate: str, losses: Iterable[Loss]) -> None:
        """Take in the losses of a candidate."""
        for loss in losses:
            new = loss not in self.owners
            self._own(candidate, loss)
            self._joined.add(candidate)
            if not new:
                self.edition += loss in self._front.losses
                continue
            self._waiting.append(loss)
            if not self._front.covers(loss):
                self._front.put([loss])
                self.edition += 1

    def ranks(self) -> dict[str, int]:
        """Candidate -> the best Pareto rank among its losses."""
        self.settle()
        return dict(self._best)

    def settle(self) -> dict[str, int]:
        """Bring the ranks up to date. Returns those that changed since this, or `ranks`, was last called."""
        if len(self._waiting) * FEW > len(self.owners):
            found = pareto.layers(self.owners)
            self._layers = [pareto.layer(len(self.reference), losses) for losses in found]
            self._numbered = 0
        else:
            for loss in self._waiting:
                self._insert(loss)
        self._waiting.clear()
        for rank, layer in enumerate(self._layers[self._numbered :], self._numbered + 1):
            self._place(layer.losses, rank)
        self._numbered = len(self._layers)
        changed: dict[str, int] = {}
        for candidate in self._joined.union(*map(self.owners.__getitem__, self._moved)):
            best = min(map(self._rank.__getitem__, self._losses[candidate]))
            if best != self._best.get(candidate):
                self._best[candidate] = changed[candidate] = best
        self._moved.clear()
        self._joined.clear()
        return changed

    def front(self) -> list[Loss]:
        """The losses that no other dominates."""
        return list(self._front.losses)

    def hypervolume(self) -> float:
        """Of the front."""
        return pareto.hypervolume(self.front(), self.reference)

    def gain(self, losses: Iterable[Loss]) -> float:
        """The hypervolume that these losses would add."""
        fresh = [loss for loss in losses if not self._front.covers(loss)]
        return pareto.gain(self.front(), fresh, self.reference) if fresh else 0.0

    def contributions(self) -> dict[str, float]:
        """Candidate on the front -> the hypervolume that the front would lose without its losses."""
        front = self.front()
        own: dict[str, list[Loss]] = {}
        for loss in front:
            for candidate in self.owners[loss]:
                own.setdefault(candidate, []).append(loss)
        result: dict[str, float] = {}
        for candidate, losses in own.items():
            alone = [loss for loss in losses if len(self.owners[loss]) == 1]
            rest = set(front).difference(alone)
            result[candidate] = pareto.gain(rest, alone, self.reference)
        return result

    def _own(self, candidate: str, loss: Loss) -> None:
        owners = self.owners.get(loss, ())
        if candidate not in owners:
            self.owners[loss] = (*owners, candidate)
            self._losses[candidate] = (*self._losses.get(candidate, ()), loss)

    def _insert(self, loss: Loss) -> None:
        """Find the first layer that does not cover the loss; what it dominates there moves down, layer by layer."""
        low, high = 0, len(self._layers)
        while low < high:
            middle = (low + high) // 2
            if self._layers[middle].covers(loss):
                low = middle + 1
            else:
                high = middle
        if len(self.reference) == 1:  # all ranks below move by one: numbered when next asked for
            self._layers.insert(low, pareto.layer(1, [loss]))
            self._numbered = min(self._numbered, low)
            return
        batch: Sequence[Loss] = [loss]
        while batch:
            if low == len(self._layers):
                self._layers.append(pareto.layer(len(self.reference)))
                self._numbered = len(self._layers)
            self._place(batch, low + 1)
            batch = self._layers[low].put(batch)
            low += 1

    def _place(self, losses: Collection[Loss], rank: int) -> None:
        self._rank.update(dict.fromkeys(losses, rank))
        self._moved.update(losses)
