"""The queries behind an archive, and the check that its tables follow from its log."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, TypeAlias

from vevolve.archive import log, pareto, schema
from vevolve.archive.events import CERTIFICATION
from vevolve.archive.fold import fold
from vevolve.archive.pareto import Loss
from vevolve.archive.record import Record
from vevolve.errors import ArchiveError, BadInput, UnknownName
from vevolve.types import Objective, Point

Order = Literal["told", "newest", "gain"]
Condition: TypeAlias = tuple[str, Sequence[Any]]

_SQL_ORDER: dict[Order, str] = {
    "told": "candidates.seq",
    "newest": "candidates.seq DESC",
    "gain": "hypervolume_gain DESC, candidates.seq",
}
_COLUMNS = tuple(
    field.name for field in dataclasses.fields(Record) if field.name not in ("parents", "points", "load_verdict")
)


def where(
    *,
    status: str | Collection[str] | None = None,
    valid: bool | None = None,
    operation: str | Collection[str] | None = None,
) -> Condition:
    """The condition that chooses candidates."""
    parts, values = ["1"], list[Any]()
    for column, wanted in (("status", status), ("operation", operation)):
        if wanted is not None:
            names = [wanted] if isinstance(wanted, str) else list(wanted)
            parts.append(f"{column} IN ({', '.join('?' * len(names))})")
            values.extend(names)
    if valid is not None:
        parts.append("valid = ?")
        values.append(valid)
    return " AND ".join(parts), values


def among(ids: Sequence[str]) -> Condition:
    """The condition that chooses these candidates."""
    return f"id IN ({', '.join('?' * len(ids))})", ids


def records(
    db: sqlite3.Connection,
    condition: Condition,
    load_verdict: Callable[[str, str], str | None],
    order: Order = "told",
    limit: int | None = None,
) -> list[Record]:
    """The candidates that meet a condition."""
    clause, values = condition
    values = [*values, -1 if limit is None else limit]
    chosen = f"FROM candidates WHERE {clause} ORDER BY {_SQL_ORDER[order]} LIMIT ?"
    rows = db.execute(f"SELECT {', '.join(_COLUMNS)} {chosen}", values).fetchall()
    inside = f"WHERE candidate IN (SELECT id {chosen})"
    parents: dict[str, list[str]] = {}
    for id, parent in db.execute(
        f"SELECT candidate, parent FROM parents {inside} ORDER BY candidate, position", values
    ):
        parents.setdefault(id, []).append(parent)
    points: dict[str, list[Point]] = {}
    query = f"SELECT candidate, split, family, label, figures FROM points {inside} ORDER BY candidate, split, position"
    for id, split, family, label, figures in db.execute(query, values):
        point = Point.model_validate({"label": label, "split": split, "family": family, **json.loads(figures)})
        points.setdefault(id, []).append(point)
    return [_record(row, parents, points, load_verdict) for row in rows]


def verdict_text(db: sqlite3.Connection, id: str, split: str) -> str | None:
    """A whole verdict as JSON."""
    row = db.execute("SELECT verdict FROM full_verdicts WHERE candidate = ? AND split = ?", (id, split)).fetchone()
    return None if row is None else str(row[0])


def narrowed(record: Record, split: str, family: str) -> Record:
    """The record with the points of one split and family alone."""
    return dataclasses.replace(record, points=record.points_on(split, family))


def resolve(db: sqlite3.Connection, prefix: str) -> str:
    """The one id that begins with `prefix`. Raises as `Archive.record` says."""
    prefix = prefix.lower()
    if not prefix:
        raise BadInput("A candidate is named by its id, or by a unique beginning of it; found nothing.")
    query = "SELECT id FROM candidates WHERE id >= ? AND id < ? ORDER BY seq LIMIT 9"
    found: list[str] = [row[0] for row in db.execute(query, (prefix, prefix + "g"))]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(id[: max(12, len(prefix) + 4)] for id in found[:8]) + (", ..." if len(found) > 8 else "")
        raise BadInput(f"'{prefix}' begins several candidates: {shown}; give more characters.")
    length = max(8, len(prefix))
    known = db.execute("SELECT substr(id, 1, ?) FROM candidates ORDER BY seq DESC LIMIT 2000", (length,))
    raise UnknownName("candidate", prefix, [row[0] for row in known])


def seconds(db: sqlite3.Connection) -> float:
    """Seconds of running in all sessions, the pauses between them left out."""
    total, began, last = 0.0, 0.0, 0.0
    for time, kind in db.execute("SELECT time, kind FROM events ORDER BY seq"):
        if kind in CERTIFICATION:
            continue
        if kind in ("started", "resumed"):
            total, began = total + last - began, time
        last = time
    return total + last - began


def losses(
    db: sqlite3.Connection, objectives: Sequence[Objective], split: str, family: str, seq: int | None = None
) -> list[tuple[int, str, Loss]]:
    """(iteration, candidate, loss) of every point that counts: valid, not of a reference, with every objective.

    Args:
        db: the database.
        objectives: what makes a loss.
        split: of the points.
        family: of the points.
        seq: only those that this row of the log brought.
    """
    query = """
        SELECT points.iteration, points.candidate, figures FROM points
        JOIN candidates ON candidates.id = points.candidate
        WHERE points.split = ? AND family = ? AND NOT reference"""
    values: tuple[Any, ...] = (split, family)
    if seq is not None:
        query += " AND points.candidate = (SELECT candidate FROM verdicts WHERE seq = ?)"
        values = (*values, seq)
    found: list[tuple[int, str, Loss]] = []
    for iteration, candidate, figures in db.execute(query, values):
        loss = loss_of(json.loads(figures), objectives)
        if loss is not None:
            found.append((iteration, candidate, loss))
    return found


def children(db: sqlite3.Connection, seq: int | None = None) -> dict[str, set[str]]:
    """Candidate -> those made from it; with `seq`, only those told by this row of the log."""
    query, values = "SELECT parent, candidate FROM parents", tuple[int, ...]()
    if seq is not None:
        query, values = f"{query} WHERE candidate = (SELECT id FROM candidates WHERE seq = ?)", (seq,)
    found: dict[str, set[str]] = {}
    for parent, child in db.execute(query, values):
        found.setdefault(parent, set()).add(child)
    return found


def loss_of(figures: dict[str, Any], objectives: Sequence[Objective]) -> Loss | None:
    """The loss of a point with these figures; None where one that is needed to rank it is absent."""
    loss: list[float] = []
    for objective in objectives:
        value = figures.get(objective.name)
        if not isinstance(value, int | float):
            return None
        loss.append(objective.loss(value))
    return tuple(loss)


def curve(rows: Iterable[tuple[int, str, Loss]], reference: Loss) -> list[tuple[int, float]]:
    """Iteration -> hypervolume of all losses up to it."""
    front = pareto.layer(len(reference))
    total, found = 0.0, dict[int, float]()
    for iteration, _, loss in sorted(rows):
        if not front.covers(loss):
            total += pareto.gain(front.losses, [loss], reference)
            front.put([loss])
        found[iteration] = total
    return list(found.items())


# ------------------------------------------------------------------------------------- the log against the tables


def check_chain(db: sqlite3.Connection, path: Path) -> None:
    """Raise `ArchiveError`, naming the first row of the log that breaks the chain of hashes."""
    broken = log.first_broken(db.execute("SELECT seq, time, kind, iteration, event, hash FROM events ORDER BY seq"))
    if broken:
        raise ArchiveError(f"{path} cannot be trusted: {broken}; restore it from a copy.")


def refold(db: sqlite3.Connection, objectives: Sequence[Objective]) -> None:
    """Make every table but the log again."""
    schema.drop_fold(db)
    schema.create_fold(db, objectives)
    for entry in log.read(db):
        fold(db, entry)


def verify(db: sqlite3.Connection, path: Path, objectives: Sequence[Objective]) -> None:
    """Check the chain, fold the log into a temporary database, and compare every row of every table."""
    check_chain(db, path)
    fresh = sqlite3.connect("", isolation_level=None)
    try:
        fresh.execute("BEGIN")
        schema.create_tables(fresh, schema.FOLD)
        for entry in log.read(db):
            fold(fresh, entry)
        for name, table in schema.FOLD.items():
            _compare(name, table, _rows(db, name, table), _rows(fresh, name, table), path)
    finally:
        fresh.close()


def copy_log(db: sqlite3.Connection, into: sqlite3.Connection) -> None:
    """Copy the log as it stands into a database that has none."""
    schema.create_tables(into, schema.LOG)
    rows = db.execute("SELECT seq, time, kind, iteration, event, hash FROM events ORDER BY seq")
    into.executemany("INSERT INTO events (seq, time, kind, iteration, event, hash) VALUES (?, ?, ?, ?, ?, ?)", rows)


def _record(
    row: tuple[Any, ...],
    parents: dict[str, list[str]],
    points: dict[str, list[Point]],
    load_verdict: Callable[[str, str], str | None],
) -> Record:
    named = dict(zip(_COLUMNS, row, strict=True))
    named.update({flag: bool(named[flag]) for flag in ("valid", "promoted", "reference")})
    id = named["id"]
    return Record(
        **named, parents=tuple(parents.get(id, ())), points=tuple(points.get(id, ())), load_verdict=load_verdict
    )


def _rows(db: sqlite3.Connection, name: str, table: schema.Table) -> Iterator[tuple[Any, ...]]:
    key = table.pk if isinstance(table.pk, str) else ", ".join(table.pk)
    return iter(db.execute(f"SELECT {', '.join(table.columns)} FROM {name} ORDER BY {key}"))


def _compare(
    name: str, table: schema.Table, stored: Iterable[tuple[Any, ...]], folded: Iterable[tuple[Any, ...]], path: Path
) -> None:
    keys = (table.pk,) if isinstance(table.pk, str) else table.pk
    for have, want in zip_longest(stored, folded):
        if have == want:
            continue
        row = dict(zip(table.columns, want or have, strict=True))
        place = ", ".join(f"{key} {row[key]}" for key in keys)
        if have and want:
            differs = [column for column, a, b in zip(table.columns, have, want, strict=True) if a != b]
            place += f", column {differs[0]}"
        raise ArchiveError(
            f"{path} cannot be trusted: table {name} ({place}) does not follow from the log; "
            "`Archive.rebuild` makes the tables again."
        )
