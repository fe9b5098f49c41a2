"""The fold: what each event does to the tables. It looks at the event and the tables alone, so it can be repeated."""

from __future__ import annotations

import base64
import functools
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from vevolve.archive.events import Asked, Measured, Proposed, Selected, Told
from vevolve.archive.log import Entry
from vevolve.types import Candidate, CandidateFault, Point, Split, Verdict

UNEXAMINED = ("duplicate", "unapplied")
"""The statuses of programs that were told without an examination."""


def fold(db: sqlite3.Connection, entry: Entry) -> None:
    """Write what an entry of the log means into the tables."""
    match entry.event:
        case Asked() as event:
            _asked(db, entry.seq, event)
        case Proposed() as event:
            _insert(
                db,
                "proposals",
                seq=entry.seq,
                **event.model_dump(exclude={"kind", "system", "user", "reply"}),
            )
        case Told() as event:
            _told(db, entry, event)
        case Selected() as event:
            _selected(db, entry.seq, event)
        case Measured() as event:
            _measured(db, event)
        case _:
            pass


def _asked(db: sqlite3.Connection, seq: int, event: Asked) -> None:
    db.execute("DELETE FROM asks WHERE iteration = ?", (event.iteration,))
    _insert(
        db,
        "asks",
        seq=seq,
        iteration=event.iteration,
        operation=event.operation,
        proposer=event.proposer,
        parents=json.dumps(event.parents),
        donors=json.dumps(event.donors),
    )


def _told(db: sqlite3.Connection, entry: Entry, event: Told) -> None:
    """A program that is there already keeps its row, unless that was never examined and this one was."""
    params = None if event.params is None else base64.b64decode(event.params)
    candidate, verdict = Candidate(event.source, params), event.verdict
    _insert(
        db,
        "tells",
        seq=entry.seq,
        iteration=event.iteration,
        candidate=candidate.id,
        status=verdict.status,
        operation=event.operation,
        proposer=event.proposer,
    )
    known = db.execute("SELECT status FROM candidates WHERE id = ?", (candidate.id,)).fetchone()
    if known and (known[0] not in UNEXAMINED or verdict.status in UNEXAMINED):
        return
    if known:
        db.execute("DELETE FROM candidates WHERE id = ?", (candidate.id,))
        for table in ("parents", "verdicts", "points"):
            db.execute(f"DELETE FROM {table} WHERE candidate = ?", (candidate.id,))
    tree_hash, reference = traits(candidate)
    _insert(
        db,
        "candidates",
        id=candidate.id,
        seq=entry.seq,
        iteration=event.iteration,
        time=entry.time,
        operation=event.operation,
        proposer=event.proposer,
        idea=event.idea,
        status=verdict.status,
        valid=verdict.valid,
        promoted=False,
        reference=reference,
        hypervolume_gain=event.hypervolume_gain,
        first_error_line="" if verdict.valid else first_line(verdict.feedback),
        tree_hash=tree_hash,
        source=candidate.source,
        params=params,
    )
    for position, parent in enumerate(event.parents):
        _insert(db, "parents", candidate=candidate.id, position=position, parent=parent)
    _judged(db, candidate.id, "search", entry.seq, event.iteration, verdict)


def _selected(db: sqlite3.Connection, seq: int, event: Selected) -> None:
    changed = db.execute("UPDATE candidates SET promoted = ? WHERE id = ?", (event.promoted, event.candidate))
    if not changed.rowcount:
        raise ValueError(f"selected {event.candidate}, which was never told")
    for table in ("verdicts", "points"):
        db.execute(f"DELETE FROM {table} WHERE candidate = ? AND split = 'select'", (event.candidate,))
    _judged(db, event.candidate, "select", seq, event.iteration, event.verdict)


def _measured(db: sqlite3.Connection, event: Measured) -> None:
    """Points of a family of their own, after those of the verdict on `select`, in place of earlier ones."""
    for family in {point.family for point in event.points}:
        db.execute(
            "DELETE FROM points WHERE candidate = ? AND split = 'select' AND family = ?", (event.candidate, family)
        )
    query = "SELECT coalesce(max(position) + 1, 0) FROM points WHERE candidate = ? AND split = 'select'"
    (first,) = db.execute(query, (event.candidate,)).fetchone()
    _points(db, event.candidate, "select", event.iteration, event.points, first)


def _judged(db: sqlite3.Connection, id: str, split: Split, seq: int, iteration: int, verdict: Verdict) -> None:
    """A verdict, and the points of a valid one, which count for the split that the event is about."""
    _insert(
        db,
        "verdicts",
        candidate=id,
        split=split,
        seq=seq,
        iteration=iteration,
        valid=verdict.valid,
        status=verdict.status,
        stage=verdict.stage,
        feedback=verdict.feedback,
        wall_s=verdict.cost.wall_s,
        cpu_s=verdict.cost.cpu_s,
        processes=verdict.cost.processes,
        level=verdict.containment.level if verdict.containment else None,
        problem=verdict.problem,
    )
    _points(db, id, split, iteration, verdict.points if verdict.valid else ())


def _points(
    db: sqlite3.Connection, id: str, split: Split, iteration: int, points: Sequence[Point], first: int = 0
) -> None:
    db.executemany(
        "INSERT INTO points (candidate, split, position, family, label, iteration, figures) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (id, split, position, _writable(point.family), _writable(point.label), iteration, _figures(point))
            for position, point in enumerate(points, first)
        ],
    )


@functools.lru_cache(maxsize=32)
def traits(candidate: Candidate) -> tuple[str | None, bool]:
    """The hash of a program's syntax tree (None where it has none) and whether it declares `REFERENCE = True`.

    Kept for the last few programs, since hashing costs milliseconds, and a program is looked up as a possible
    duplicate before it is told. The tree itself is not: it is thousands of objects, which the garbage collector would
    walk again and again, at more than it costs to parse the program.
    """
    read = Candidate(candidate.source, candidate.params)
    try:
        return read.tree_hash, read.constants.get("REFERENCE") is True
    except (CandidateFault, RecursionError, MemoryError, ValueError):
        return None, False


def first_line(text: str) -> str:
    """The first line of a feedback that says something, by which failures are grouped."""
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "")


def _figures(point: Point) -> str:
    return json.dumps(point.model_extra, sort_keys=True)


def _insert(db: sqlite3.Connection, table: str, **row: Any) -> None:
    values = [_writable(value) if isinstance(value, str) else value for value in row.values()]
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", values)


def _writable(text: str) -> str:
    """The text, with `?` for half of a surrogate pair, which a model may write and SQLite cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
