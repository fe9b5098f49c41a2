"""The log: rows that only ever are added, each bound to all before it by a hash.

The hash of a row is sha256(hash of the row before, canonical JSON of [time, event]); the first row follows 64 zeros.
Canonical means sorted keys, no blanks, ASCII. The chain finds a row that was changed, removed or put in between; it
does not stop the owner of a file from writing a whole new one.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vevolve.archive.events import EVENT, Event
from vevolve.errors import ArchiveError

PRUNED = "(pruned)"
"""What stands for a prompt or a reply that was dropped."""

GENESIS = "0" * 64
"""What stands for the hash before the first row."""


@dataclass(frozen=True)
class Entry:
    """One row of the log.

    Attributes:
        seq: 1 for the first.
        time: when it was appended, seconds since 1970.
        hash: of this row and all before it.
        event: what happened.
    """

    seq: int
    time: float
    hash: str
    event: Event


def canonical(event: Event) -> str:
    """The event as canonical JSON.

    A number that is not finite becomes null, since JSON has none and a report may hold one.
    """
    plain = event.model_dump()
    try:
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(_plain(plain), sort_keys=True, separators=(",", ":"))


def parse(text: str) -> Event:
    """The event of a row. Raises ValueError (pydantic's is one) where it is none."""
    return EVENT.validate_python(json.loads(text))


def link(before: str, time: float, text: str) -> str:
    """The hash of a row, from the hash before it."""
    return hashlib.sha256(f"{before}[{json.dumps(time)},{text}]".encode()).hexdigest()


def is_pruned(text: str) -> bool:
    """Whether a row is an exchange whose prompt and reply were dropped; it keeps the hash that it had before."""
    if PRUNED not in text or '"kind":"proposed"' not in text:
        return False
    event = json.loads(text)
    return bool(event["kind"] == "proposed" and event["system"] == event["user"] == event["reply"] == PRUNED)


def write(db: sqlite3.Connection, head: tuple[int, str], time: float, events: Iterable[Event]) -> list[Entry]:
    """Add rows after `head`, the number and hash of the last one. Returns them, with the events as read back.

    Raises `pydantic.ValidationError` where an event could not be read back.
    """
    seq, hash = head
    entries: list[Entry] = []
    for event in events:
        text = canonical(event)
        seq, hash = seq + 1, link(hash, time, text)
        row = (seq, time, event.kind, getattr(event, "iteration", None), text, hash)
        db.execute("INSERT INTO events (seq, time, kind, iteration, event, hash) VALUES (?, ?, ?, ?, ?, ?)", row)
        entries.append(Entry(seq, time, hash, parse(text)))
    return entries


def read(db: sqlite3.Connection, after: int = 0, kinds: Collection[str] | None = None) -> Iterator[Entry]:
    """The rows after number `after`, of all kinds or of some. A page at a time, so that no transaction stays open."""
    chosen = "" if kinds is None else f" AND kind IN ({', '.join('?' * len(kinds))})"
    query = f"SELECT seq, time, hash, event FROM events WHERE seq > ?{chosen} ORDER BY seq LIMIT 200"
    while rows := db.execute(query, (after, *(kinds or ()))).fetchall():
        for seq, time, hash, text in rows:
            try:
                event = parse(text)
            except ValueError as error:
                raise ArchiveError(f"Row {seq} of the log holds no event; the archive is damaged.") from error
            yield Entry(seq, time, hash, event)
        after = rows[-1][0]


def head(db: sqlite3.Connection) -> tuple[int, str]:
    """The number and hash of the last row; zero and `GENESIS` where there is none."""
    return db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone() or (0, GENESIS)


def first_broken(rows: Iterable[Sequence[Any]]) -> str | None:
    """What is wrong with the first row that breaks the chain; None where all hold.

    Args:
        rows: `(seq, time, kind, iteration, event, hash)` in order.
    """
    hash, expected = GENESIS, 1
    for seq, time, kind, iteration, text, stored in rows:
        if seq != expected:
            return f"row {expected} of the log is missing"
        hash, expected = link(hash, time, text), expected + 1
        if hash != stored and is_pruned(text):
            hash = stored
        if hash != stored:
            return f"row {seq} of the log was changed after it was written"
        event = parse(text)
        if (kind, iteration) != (event.kind, getattr(event, "iteration", None)):
            return f"row {seq} of the log is labelled ({kind}, {iteration}), which its event is not"
    return None


def _plain(value: Any) -> Any:
    """A value of plain JSON: keys are strings, numbers finite or null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
