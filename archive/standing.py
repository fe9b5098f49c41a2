"""How candidates stand against each other on one split and family, kept up to date point by point.

Ranking 50,000 points anew takes tenths of a second, and the loop asks after every candidate. So the layers of all
ranks are kept, and a new loss only pushes down the runs that it dominates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from vevolve.archive import pareto
from vevolve.archive.pareto import Layer, Loss


class Standing:
    """The Pareto layers of the losses of many candidates.

    Attributes:
        reference: the reference point of the hypervolume.
        owners: loss -> the candidates that have it.
    """

    def __init__(self, reference: Loss, rows: Iterable[tuple[str, Loss]] = ()) -> None:
        self.reference = reference
        self.owners: dict[Loss, list[str]] = {}
        self._losses: dict[str, list[Loss]] = {}
        for candidate, loss in rows:
            self._own(candidate, loss)
        found = pareto.layers(self.owners)
        self._layers: list[Layer] = [pareto.layer(len(reference), losses) for losses in found]
        self._rank = {loss: rank for rank, losses in enumerate(found, 1) for loss in losses}
        self._best = {candidate: min(map(self._rank.__getitem__, own)) for candidate, own in self._losses.items()}
        self._moved: set[Loss] = set()
        self._numbered = len(found)

    def __contains__(self, candidate: str) -> bool:
        return candidate in self._losses

    def add(self, candidate: str, losses: Iterable[Loss]) -> None:
        """Take in the losses of a candidate."""
        for loss in losses:
            new = loss not in self.owners
            self._own(candidate, loss)
            self._moved.add(loss)
            if new:
                self._insert(loss)

    def ranks(self) -> dict[str, int]:
        """Candidate -> the best Pareto rank among its losses."""
        for rank, layer in enumerate(self._layers[self._numbered :], self._numbered + 1):
            self._place(layer.losses, rank)
        self._numbered = len(self._layers)
        for candidate in {owner for loss in self._moved for owner in self.owners[loss]}:
            self._best[candidate] = min(map(self._rank.__getitem__, self._losses[candidate]))
        self._moved.clear()
        return dict(self._best)

    def front(self) -> list[Loss]:
        """The losses that no other dominates."""
        return list(self._layers[0].losses) if self._layers else []

    def hypervolume(self) -> float:
        """Of the front."""
        return pareto.hypervolume(self.front(), self.reference)

    def gain(self, losses: Iterable[Loss]) -> float:
        """The hypervolume that these losses would add."""
        return pareto.gain(self.front(), losses, self.reference)

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
        owners = self.owners.setdefault(loss, [])
        if candidate not in owners:
            owners.append(candidate)
            self._losses.setdefault(candidate, []).append(loss)

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
