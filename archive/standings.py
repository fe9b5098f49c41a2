"""The standings of all splits and families of an archive, kept in memory and up to date as its log grows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from vevolve.archive import reading
from vevolve.archive.events import Measured, Selected, Told
from vevolve.archive.pareto import Loss
from vevolve.archive.standing import Standing
from vevolve.types import Objective, Point, Split, Verdict


class Standings:
    """Each is made from the tables when it is first asked for, and then takes in what events bring.

    Args:
        objectives: what candidates are ranked on.
        others: family -> what its points are ranked on instead.
    """

    def __init__(
        self, objectives: tuple[Objective, ...], others: Mapping[str, tuple[Objective, ...]] | None = None
    ) -> None:
        self._objectives, self._others = objectives, dict(others or {})
        self._kept: dict[tuple[str, str], Standing] = {}

    def objectives(self, family: str = "") -> tuple[Objective, ...]:
        """What the points of a family are ranked on."""
        return self._others.get(family, self._objectives)

    def reference(self, family: str = "") -> Loss:
        """The reference point of the hypervolume."""
        return tuple(objective.loss(objective.worst) for objective in self.objectives(family))

    def of(self, db: sqlite3.Connection, split: str, family: str) -> Standing:
        """How candidates stand on one split and family."""
        found = self._kept.get((split, family))
        if found is None:
            rows = reading.losses(db, self.objectives(family), split, family)
            found = self._kept[split, family] = Standing(self.reference(family), ((id, loss) for _, id, loss in rows))
        return found

    def loss(self, point: Point) -> Loss | None:
        """What a point is ranked by; None where an objective is missing."""
        return reading.loss_of(point.model_extra or {}, self.objectives(point.family))

    def told(self, db: sqlite3.Connection, seq: int, event: Told) -> None:
        """Take in a program that joined the tables; one that was there already has no row of this number."""
        row = db.execute("SELECT id, reference FROM candidates WHERE seq = ?", (seq,)).fetchone()
        if row is not None and not row[1]:
            self._add("search", row[0], _counted(event.verdict))

    def selected(self, db: sqlite3.Connection, event: Selected) -> None:
        """Take in a verdict on `select`. One that replaces an earlier one changes points: those are made again."""
        before = [key for key, one in self._kept.items() if key[0] == "select" and event.candidate in one]
        for key in before:
            del self._kept[key]
        row = db.execute("SELECT reference FROM candidates WHERE id = ?", (event.candidate,)).fetchone()
        if row is not None and not row[0]:
            self._add("select", event.candidate, _counted(event.verdict))

    def measured(self, db: sqlite3.Connection, event: Measured) -> None:
        """Take in points that were timed; in place of earlier ones of the candidate, all are made again."""
        again = [key for key in {("select", point.family) for point in event.points} if key in self._kept]
        for key in again:
            if event.candidate in self._kept[key]:
                del self._kept[key]
        row = db.execute("SELECT reference FROM candidates WHERE id = ?", (event.candidate,)).fetchone()
        if row is not None and not row[0]:
            self._add("select", event.candidate, event.points)

    def forget(self) -> None:
        """Drop everything; the tables were made again."""
        self._kept.clear()

    def _add(self, split: Split, id: str, points: Iterable[Point]) -> None:
        for point in points:
            standing = self._kept.get((split, point.family))
            loss = self.loss(point) if standing is not None else None
            if standing is not None and loss is not None:
                standing.add(id, [loss])


def _counted(verdict: Verdict) -> tuple[Point, ...]:
    return verdict.points if verdict.valid else ()
