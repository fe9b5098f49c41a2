"""Opening a run's database: which file, may it be written, is it ours, and what to tell a user where it is not."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import IO
from urllib.parse import quote

from vevolve.archive import schema
from vevolve.errors import ArchiveError

FILE = "archive.db"
"""The name of the database in a run's directory."""

WAIT_S = 10.0
"""How long a statement waits for another process that holds the database."""


def file_of(path: Path) -> Path:
    """The database that `path` means: itself, or `archive.db` in a directory."""
    path = Path(path)
    return path if path.suffix == ".db" and not path.is_dir() else path / FILE


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open for writing, in write-ahead mode, so that readers never wait.

    Every commit is flushed to the disk (`synchronous = FULL`): a reply that was paid for survives a power cut.
    """
    db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    return db


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open for reading, creating and changing no file where that is possible.

    A database without a log of pending writes is opened as immutable, since SQLite would otherwise create its two
    side files beside it. `stamp` says when that no longer holds. With a writer at work these files are there already.
    """
    mode = "mode=ro" if has_writer(path) else "mode=ro&immutable=1"
    db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True, timeout=WAIT_S, isolation_level=None)
    db.execute("PRAGMA query_only = ON")
    return db


def files(path: Path) -> list[Path]:
    """The database, what SQLite keeps beside it, and the lock, whether they are there or not."""
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal", ".lock")]


def remove(path: Path) -> None:
    """Remove a database with all that belongs to it."""
    for file in files(path):
        file.unlink(missing_ok=True)


def settle(db: sqlite3.Connection) -> None:
    """Move pending writes into the database file, so that a copy of that file alone holds all of them.

    A reader at work may keep them where they are, and so may a full disk: they are safe there, and move another time.
    """
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA busy_timeout = 0")  # nobody waits for a reader
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def has_writer(path: Path) -> bool:
    """Whether there are pending writes beside the database: a writer has it open, or was killed."""
    return path.with_name(path.name + "-wal").exists()


def stamp(path: Path) -> tuple[bool, int, int]:
    """Changes when a database that was opened as immutable has been written to, or is about to be."""
    found = path.stat()
    return has_writer(path), found.st_mtime_ns, found.st_size


def lock(path: Path) -> IO[bytes]:
    """Hold the right to write until the returned file is closed, which the end of a process does too.

    Raises:
        ArchiveError: another process holds it.
    """
    handle = path.with_name(path.name + ".lock").open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise ArchiveError(
            f"{path} is being written by another process; wait until that run ends, or stop it."
        ) from error
    return handle


def check(db: sqlite3.Connection, path: Path) -> int:
    """The schema version of a database of ours.

    Raises:
        ArchiveError: it is another program's, or newer than this one.
    """
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if application != schema.APPLICATION:
        raise ArchiveError(f"{path} is an SQLite database, but not of a vEvolve run; name a run's directory.")
    if version > schema.VERSION:
        raise ArchiveError(
            f"{path} has schema version {version}, and this vEvolve reads versions up to {schema.VERSION}; "
            "upgrade vEvolve to open it."
        )
    return version


@contextlib.contextmanager
def explained(path: Path, then: str = "resume") -> Generator[None]:
    """Turn what SQLite and the file system raise into one line with a cure; `then` follows once there is space."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise ArchiveError(_explain(path, error, then)) from error


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, path: Path, kind: str = "IMMEDIATE", then: str = "resume") -> Generator[None]:
    """All or nothing: whatever is raised inside, the database stays as it was."""
    with explained(path, then):
        db.execute(f"BEGIN {kind}")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _explain(path: Path, error: sqlite3.Error | OSError, then: str) -> str:
    name, text = getattr(error, "sqlite_errorname", ""), str(error)
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if "FULL" in name or "IOERR" in name or no_space:
        return f"Writing {path} failed ({text}): free space on its disk, then {then}; nothing was half-written."
    if "BUSY" in name or "LOCKED" in name:
        return f"{path} was held by another process for longer than {WAIT_S:.0f} s; close what has it open, try again."
    if "READONLY" in name or "CANTOPEN" in name or "PERM" in name or isinstance(error, OSError):
        return f"{path} cannot be opened as asked ({text}); check the path and its permissions."
    if "NOTADB" in name:
        return f"{path} is damaged or no database at all ({text}); restore it from a copy, or start a new run."
    if isinstance(error, sqlite3.ProgrammingError):
        return f"{path}: {text} An archive is used while it is open, by the thread that opened it; open it again."
    return f"{path} is damaged ({text}); restore it from a copy, or save what is left with `sqlite3 FILE .recover`."
