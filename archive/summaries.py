"""Candidates without their programs and verdicts: what lists and plots of thousands need, read in one sweep."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from vevolve.archive.pareto import Loss

_COLUMNS = (
    "id",
    "seq",
    "iteration",
    "time",
    "operation",
    "proposer",
    "idea",
    "status",
    "valid",
    "promoted",
    "reference",
    "hypervolume_gain",
    "first_error_line",
)


@dataclass(slots=True)
class Spot:
    """An operating point as a plot needs it.

    Attributes:
        split, family, label: as in `vevolve.types.Point`.
        figures: the objectives and whatever else was measured.
        loss: what it is ranked by; None where an objective is missing. Filled in by whoever knows the objectives.
    """

    split: str
    family: str
    label: str
    figures: dict[str, Any]
    loss: Loss | None = None

    def __getitem__(self, name: str) -> float:
        """As of `vevolve.types.Point`: the value of an objective or figure. Raises KeyError where there is none."""
        value = self.figures[name]
        if not isinstance(value, int | float):
            raise KeyError(name)
        return float(value)


@dataclass(slots=True)
class Summary:
    """A candidate as a list shows it. Fields mean what they mean in `vevolve.archive.record.Record`."""

    id: str
    seq: int
    iteration: int
    time: float
    operation: str
    proposer: str
    idea: str
    status: str
    valid: bool
    promoted: bool
    reference: bool
    hypervolume_gain: float
    first_error_line: str
    parents: tuple[str, ...]
    spots: tuple[Spot, ...]

    def told(self) -> str:
        """The one line that says most: what went wrong, or what was changed."""
        return (self.idea if self.valid else self.first_error_line) or self.idea or self.first_error_line


def summaries(db: sqlite3.Connection, after: int = 0) -> list[Summary]:
    """The candidates that rows after number `after` of the log told or selected, in the order they were told."""
    only = "WHERE {} IN (SELECT candidate FROM verdicts WHERE seq > ?)" if after else ""
    values = (after,) if after else ()
    parents: dict[str, list[str]] = {}
    query = f"SELECT candidate, parent FROM parents {only.format('candidate')} ORDER BY candidate, position"
    for id, parent in db.execute(query, values):
        parents.setdefault(id, []).append(parent)
    # Rows were written split by split and in their order; sorting them anew would triple the time this takes.
    query = f"SELECT candidate, split, family, label, figures FROM points {only.format('candidate')} ORDER BY rowid"
    rows = db.execute(query, values).fetchall()
    spots: dict[str, list[Spot]] = {}
    for (id, split, family, label, _), figures in zip(rows, _parsed([row[4] for row in rows]), strict=True):
        spots.setdefault(id, []).append(Spot(split, family, label, figures))
    found: list[Summary] = []
    query = f"SELECT {', '.join(_COLUMNS)} FROM candidates {only.format('id')} ORDER BY seq"
    for row in db.execute(query, values):
        named = dict(zip(_COLUMNS, row, strict=True))
        named.update({flag: bool(named[flag]) for flag in ("valid", "promoted", "reference")})
        id = named["id"]
        found.append(Summary(**named, parents=tuple(parents.get(id, ())), spots=tuple(spots.get(id, ()))))
    return found


def _parsed(texts: list[str]) -> list[dict[str, Any]]:
    """JSON objects parsed in one go, which takes a quarter of the time that one by one does."""
    found: list[dict[str, Any]] = json.loads(f"[{','.join(texts)}]")
    return found


def containing(db: sqlite3.Connection, text: str) -> set[str]:
    """The candidates whose program contains a text, whatever its case."""
    rows = db.execute("SELECT id FROM candidates WHERE instr(lower(source), lower(?))", (text,))
    return {id for (id,) in rows}
