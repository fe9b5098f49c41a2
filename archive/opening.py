"""How the database of a run comes to be open: made anew, read, or written by the one who holds its lock."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vevolve.archive import database, log, reading, schema
from vevolve.archive.events import Started
from vevolve.errors import ArchiveError


@dataclass(frozen=True)
class Opened:
    """A database that is open.

    Attributes:
        db: the connection.
        path: the file.
        lock: held by the one that writes; None for a reader.
        started: the first event of its log.
        stamp: tells whether the file was written to since, as `database.stamp` does.
        head: number and hash of the last row of its log.
    """

    db: sqlite3.Connection
    path: Path
    lock: IO[bytes] | None
    started: Started
    stamp: tuple[bool, int, int]
    head: tuple[int, str]


def create(path: Path, started: Started) -> Opened:
    """A new database in a directory, which is made, or in a file. What fails leaves nothing behind.

    Raises:
        ArchiveError: there is one already, or the place cannot be written.
    """
    file = database.file_of(path)
    with contextlib.ExitStack() as undo, database.explained(file, then="start again"):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            raise ArchiveError(f"{file} exists already; resume that run, or name another directory.") from None
        undo.callback(database.remove, file)
        lock = undo.enter_context(database.lock(file))
        db = undo.enter_context(contextlib.closing(database.connect_writer(file)))
        with database.transaction(db, file, then="start again"):
            schema.create(db, started.objectives)
            log.write(db, (0, log.GENESIS), time.time(), [started])
        opened = _opened(db, file, lock, database.stamp(file))
        undo.pop_all()
        return opened


def existing(path: Path, *, write: bool) -> Opened:
    """The database of a run, by its directory or its file.

    One of an older schema has its tables folded anew from its log: in place when opened for writing, else in a
    temporary copy.

    Raises:
        ArchiveError: it is missing, damaged, foreign, newer than this program, or (to write) in use.
    """
    file = database.file_of(path)
    if not file.is_file():
        raise ArchiveError(f"No run at {path}: expected the file {file}; `vevolve run` starts one.")
    with contextlib.ExitStack() as undo, database.explained(file):
        lock = undo.enter_context(database.lock(file)) if write else None
        stamp = database.stamp(file)  # before connecting: a later one would hide a writer that comes in between
        db = undo.enter_context(contextlib.closing(database.connect_reader(file)))
        stamp = (stamp[0] and database.has_writer(file), *stamp[1:])
        version = database.check(db, file)
        if write:
            db = undo.enter_context(contextlib.closing(database.connect_writer(file)))
        if version < schema.VERSION:
            db = undo.enter_context(contextlib.closing(_renewed(db, file, write)))
        opened = _opened(db, file, lock, stamp)
        undo.pop_all()
        return opened


def _opened(db: sqlite3.Connection, path: Path, lock: IO[bytes] | None, stamp: tuple[bool, int, int]) -> Opened:
    """All that is read before a database counts as open, so that a failure here closes what was opened."""
    return Opened(db, path, lock, _first(db, path), stamp, log.head(db))


def _first(db: sqlite3.Connection, path: Path) -> Started:
    first = next(log.read(db), None)
    if first is None or not isinstance(first.event, Started):
        raise ArchiveError(f"{path} is damaged: its log does not begin with the start of a run; start a new run.")
    return first.event


def _renewed(db: sqlite3.Connection, path: Path, write: bool) -> sqlite3.Connection:
    """A database with the tables of this schema version, folded from the log of an older one."""
    started = _first(db, path)
    target = db if write else sqlite3.connect("", isolation_level=None)
    with database.transaction(target, path):
        if not write:
            reading.copy_log(db, target)
        reading.refold(target, started.objectives)
    return target
