"""How the candidates of one split and family stand, from what the page holds in memory.

An archive answers the same questions from its database; at ten thousand candidates reading their points once more for
each would take most of a second. Every part is made when it is first asked for and kept until something joins.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from vevolve.archive import pareto, reading
from vevolve.archive.pareto import Loss
from vevolve.archive.standing import Standing
from vevolve.archive.summaries import Spot, Summary
from vevolve.types import Objective

_DERIVED = ("front", "worth", "curve")


class Ranking:
    """The losses of candidates that are no references, on one split and family.

    Args:
        objectives: what makes a loss.
        split: of the points.
        family: of the points.
        found: candidates, in any order.
    """

    def __init__(self, objectives: Sequence[Objective], split: str, family: str, found: Iterable[Summary]) -> None:
        self.split, self.family = split, family
        self._objectives = objectives
        self._reference = tuple(axis.loss(axis.worst) for axis in objectives)
        self._known: dict[str, list[Loss]] = {}
        self._rows: list[tuple[int, str, Loss]] = []
        self._standing: Standing | None = None
        for one in found:
            if losses := self._losses(one):
                self._known[one.id] = losses
                self._rows += [(one.iteration, one.id, loss) for loss in losses]

    def take(self, one: Summary) -> bool:
        """Take in a candidate as it is now; False where its losses were others before, and all has to be made anew."""
        losses, known = self._losses(one), self._known.get(one.id)
        if not losses or losses == known:
            return losses == (known or [])
        if known:
            return False
        self._known[one.id] = losses
        front = pareto.front([*self.front, *losses]) if "front" in self.__dict__ else None
        for name in _DERIVED:
            self.__dict__.pop(name, None)
        if front is not None:
            self.__dict__["front"] = front
        self._rows += [(one.iteration, one.id, loss) for loss in losses]
        if self._standing is not None:
            self._standing.add(one.id, losses)
        return True

    @functools.cached_property
    def front(self) -> list[Loss]:
        """The losses that no other dominates."""
        return pareto.front(loss for _, _, loss in self._rows)

    @functools.cached_property
    def worth(self) -> dict[str, float]:
        """Candidate on the front -> the hypervolume that the front would lose without it, the greatest first."""
        best = set(self.front)
        found = Standing(self._reference, ((id, loss) for _, id, loss in self._rows if loss in best)).contributions()
        return {id: found[id] for id in sorted(found, key=lambda id: (-found[id], id))}

    @functools.cached_property
    def curve(self) -> list[tuple[int, float]]:
        """As `Archive.hypervolume_curve`."""
        return reading.curve(self._rows, self._reference)

    @property
    def hypervolume(self) -> float:
        """Of the front."""
        return pareto.hypervolume(self.front, self._reference)

    def ranks(self) -> dict[str, int]:
        """As `Archive.ranks`."""
        if self._standing is None:
            self._standing = Standing(self._reference, ((id, loss) for _, id, loss in self._rows))
        return self._standing.ranks()

    def hypervolume_of(self, found: Iterable[Summary]) -> float | None:
        """Of these candidates alone; None where none has a point."""
        losses = {loss for one in found for loss in self._losses(one)}
        return pareto.hypervolume(losses, self._reference) if losses else None

    def has(self, spot: Spot) -> bool:
        """Whether a point belongs here."""
        return spot.split == self.split and spot.family == self.family

    def _losses(self, one: Summary) -> list[Loss]:
        """Of its points here, in their order; none of a reference."""
        if one.reference:
            return []
        here = [spot for spot in one.spots if self.has(spot)]
        for spot in here:
            if spot.loss is None:
                spot.loss = reading.loss_of(spot.figures, self._objectives)
        return [spot.loss for spot in here if spot.loss is not None]
