"""The hash chain finds any row that was touched, and the tables follow from the log alone."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from vevolve.archive import Archive, schema
from vevolve.archive.events import Asked, Proposed, Selected, Told
from vevolve.errors import ArchiveError
from vevolve.types import Candidate, Verdict

Tell = Callable[..., Told]


@pytest.fixture
def full(archive: Archive, tell: Tell, fail: Callable[..., Verdict]) -> Path:
    """A closed archive with events of every kind, duplicates and failures."""
    first = tell(0, "a = 1", (0.5, 0.5), operation="seed")
    archive.append(first)
    archive.append(Asked(iteration=1, operation="mutate", parents=(Candidate("a = 1").id,), proposer="p"))
    archive.append(Proposed(iteration=1, attempt=0, proposer="p", system="s", user="é \ud800", reply="r", usd=0.1))
    archive.append(tell(1, "b = 1", (0.1, 0.1), parents=(Candidate("a = 1").id,)))
    archive.append(tell(2, "b = 1", verdict=fail("duplicate")))
    archive.append(tell(3, "c = (", verdict=fail("syntax")))
    archive.append(
        Selected(iteration=1, candidate=Candidate("b = 1").id, verdict=first.verdict, promoted=True),
    )
    archive.close()
    return archive.path


def change(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    changed = db.execute(sql).rowcount
    db.commit()
    db.close()
    assert changed > 0


def complaint(path: Path) -> str:
    with Archive.open(path) as archive, pytest.raises(ArchiveError) as refused:
        archive.verify()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_each_hash_can_be_recomputed_from_the_stored_text(full: Path) -> None:
    db = sqlite3.connect(full)
    hash = "0" * 64
    rows = db.execute("SELECT time, event, hash FROM events ORDER BY seq").fetchall()
    assert len(rows) == 8
    for time, text, stored in rows:
        document = json.dumps([time, json.loads(text)], sort_keys=True, separators=(",", ":"))
        hash = hashlib.sha256((hash + document).encode()).hexdigest()
        assert hash == stored
    db.close()


def test_an_untouched_archive_verifies(full: Path) -> None:
    with Archive.open(full) as archive:
        rows = list(archive.events())
        archive.verify()
        assert rows and list(archive.events()) == rows


@pytest.mark.parametrize(
    "sql, said",
    [
        ("UPDATE events SET event = replace(event, '0.1', '0.2') WHERE seq = 5", "row 5 of the log was changed"),
        ("UPDATE events SET time = time + 1 WHERE seq = 3", "row 3 of the log was changed"),
        ("UPDATE events SET hash = '" + "a" * 64 + "' WHERE seq = 4", "row 4 of the log was changed"),
        ("UPDATE events SET kind = 'ended' WHERE seq = 2", "row 2 of the log is labelled"),
        ("DELETE FROM events WHERE seq = 4", "row 4 of the log is missing"),
        ("UPDATE events SET seq = 20 WHERE seq = 8", "row 8 of the log is missing"),
        ("DELETE FROM events WHERE seq = 8", "table candidates"),
        ("UPDATE points SET figures = replace(figures, '0.1', '0.01')", "table points"),
        ("UPDATE candidates SET source = 'b = 2' WHERE source = 'b = 1'", "column source"),
        ("DELETE FROM parents", "table parents"),
        ("INSERT INTO tells SELECT 99, iteration, candidate, status, operation, proposer FROM tells", "table tells"),
        ("UPDATE verdicts SET valid = 1 WHERE status = 'syntax'", "column valid"),
        ("UPDATE proposals SET usd = 0", "column usd"),
        ("UPDATE asks SET proposer = 'q'", "column proposer"),
    ],
)
def test_tampering_is_found_and_named(full: Path, sql: str, said: str) -> None:
    if "SELECT 99" in sql:
        sql += " LIMIT 1"
    change(full, sql)
    assert said in complaint(full)


def test_a_row_that_is_no_event_is_named(full: Path) -> None:
    change(full, "UPDATE events SET event = '{}' WHERE seq = 4")
    with Archive.open(full) as archive, pytest.raises(ArchiveError, match="Row 4 of the log"):
        list(archive.events())


def test_rebuilding_mends_the_tables_and_not_a_broken_log(full: Path) -> None:
    db = sqlite3.connect(full)
    before = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in schema.FOLD}
    db.execute("DELETE FROM candidates")
    db.execute("UPDATE points SET figures = '{}'")
    db.commit()
    db.close()
    with Archive.open(full, write=True) as archive:
        assert archive.front() == []
        archive.rebuild()
        archive.verify()
        assert len(archive.front()) == 1
    db = sqlite3.connect(full)
    assert {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in schema.FOLD} == before
    db.close()

    change(full, "UPDATE events SET time = 0 WHERE seq = 3")
    with Archive.open(full, write=True) as archive, pytest.raises(ArchiveError, match="row 3"):
        archive.rebuild()
    with Archive.open(full) as reader, pytest.raises(ArchiveError, match="opened for reading"):
        reader.rebuild()
