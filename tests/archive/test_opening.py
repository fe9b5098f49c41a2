"""Every way in which a database can be wrong gets one line that says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from vevolve.archive import Archive, database, log, schema
from vevolve.archive.events import Ended, Started, Told
from vevolve.errors import ArchiveError

Tell = Callable[..., Told]


def refusal(path: Path, **how: bool) -> str:
    with pytest.raises(ArchiveError) as refused:
        Archive.open(path, **how)
    message = str(refused.value)
    assert "\n" not in message
    return message


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.iterdir()}


@pytest.mark.parametrize("write", [False, True])
def test_a_missing_run_is_named_and_not_made(tmp_path: Path, write: bool) -> None:
    assert "expected the file" in refusal(tmp_path / "nowhere", write=write)
    assert "expected the file" in refusal(tmp_path, write=write)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_archive_is_never_overwritten(archive: Archive, start: Callable[..., Started]) -> None:
    with pytest.raises(ArchiveError, match="exists already"):
        Archive.create(archive.path.parent, start())
    archive.verify()


def test_a_file_that_is_no_database_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "archive.db").write_bytes(b"not a database at all" * 100)
    assert "damaged or no database" in refusal(tmp_path)
    (tmp_path / "archive.db").write_bytes(b"")
    assert "not of a vEvolve run" in refusal(tmp_path)


@pytest.mark.parametrize("write", [False, True])
def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path, write: bool) -> None:
    db = sqlite3.connect(tmp_path / "archive.db")
    db.execute("CREATE TABLE events (seq INTEGER)")
    db.commit()
    db.close()
    before = (tmp_path / "archive.db").read_bytes()
    assert "not of a vEvolve run" in refusal(tmp_path, write=write)
    assert (tmp_path / "archive.db").read_bytes() == before


def test_pages_overwritten_in_the_middle_are_called_damaged(archive: Archive, tell: Tell) -> None:
    for number in range(40):
        archive.append(tell(number, f"x = {number}\n" + "# long\n" * 300, (0.1, 0.1)))
    archive.close()
    with archive.path.open("r+b") as handle:
        handle.seek(4096)
        handle.write(b"\xa5" * (archive.path.stat().st_size - 4096))
    assert "damaged" in refusal(archive.path)


def test_a_cut_file_is_called_damaged(archive: Archive, tell: Tell) -> None:
    for number in range(40):
        archive.append(tell(number, f"x = {number}\n" + "# long\n" * 300, (0.1, 0.1)))
    archive.close()
    content = archive.path.read_bytes()
    archive.path.write_bytes(content[: len(content) // 3])
    with pytest.raises(ArchiveError, match="damaged"):
        Archive.open(archive.path).verify()


def test_a_newer_schema_is_refused_by_its_number(archive: Archive) -> None:
    archive.close()
    db = sqlite3.connect(archive.path)
    db.execute("PRAGMA user_version = 12")
    db.close()
    message = refusal(archive.path)
    assert "schema version 12" in message and f"up to {schema.VERSION}" in message and "upgrade" in message


def test_an_older_schema_is_folded_anew_from_its_log(
    archive: Archive, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.append(tell(1, "a = 1", (0.1, 0.1)))
    archive.close()
    db = sqlite3.connect(archive.path)
    db.executescript("DROP VIEW operating_points; DROP TABLE points; CREATE TABLE relic (x)")
    db.close()
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    before = archive.path.read_bytes()

    with Archive.open(archive.path) as reader:
        assert len(reader.front()) == 1
    assert archive.path.read_bytes() == before
    with Archive.open(archive.path, write=True) as writer:
        writer.append(tell(2, "b = 1", (0.05, 0.05)))
        writer.verify()
        assert [record.source for record in writer.front()] == ["b = 1"]
    db = sqlite3.connect(archive.path)
    assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'relic'").fetchone() == (0,)
    db.close()


def test_a_second_writer_is_refused_while_the_first_lives(archive: Archive, tell: Tell) -> None:
    assert "being written by another process" in refusal(archive.path, write=True)
    archive.close()
    with Archive.open(archive.path, write=True) as second:
        second.append(tell(1, "a = 1", (0.1, 0.1)))


def test_a_reader_leaves_the_files_of_a_finished_run_as_they_are(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.1, 0.1)))
    archive.close()
    before = files(archive.path.parent)
    with Archive.open(archive.path) as reader:
        reader.verify()
        assert len(reader.records()) == 1
        assert files(archive.path.parent) == before
    assert files(archive.path.parent) == before
    assert not any(name.endswith(("-wal", "-shm")) for name in before)


def test_a_reader_of_a_finished_run_notices_that_it_was_resumed(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.5, 0.5)))
    archive.close()
    with Archive.open(archive.path) as reader:
        assert len(reader.records()) == 1
        with Archive.open(archive.path, write=True) as writer:
            writer.append(tell(2, "b = 1", (0.1, 0.1)))
            assert len(reader.records()) == 2
            writer.append(tell(3, "c = 1", (0.05, 0.05)))
        assert len(reader.ranks()) == 3
        with Archive.open(archive.path, write=True) as writer:
            writer.append(tell(4, "d = 1", (0.01, 0.01)))
        assert len(reader.ranks()) == 4


def test_a_verdict_asked_for_after_closing_says_so(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.1, 0.1)))
    (record,) = archive.records()
    archive.close()
    with pytest.raises(ArchiveError, match="closed"):
        _ = record.verdict
    with pytest.raises(ArchiveError, match="closed"):
        archive.append(Ended(reason="late"))


@pytest.mark.parametrize("what", ["stamp", "head"])
def test_an_archive_that_cannot_be_begun_leaves_nothing_behind(
    tmp_path: Path, start: Callable[..., Started], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    breaks(monkeypatch, what)
    with pytest.raises(ArchiveError, match="cannot be opened as asked"):
        Archive.create(tmp_path, start())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    Archive.create(tmp_path, start()).close()


@pytest.mark.parametrize("what", ["stamp", "head"])
def test_an_archive_that_cannot_be_opened_is_not_kept_from_the_next_writer(
    archive: Archive, tell: Tell, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    archive.close()
    breaks(monkeypatch, what)
    with pytest.raises(ArchiveError, match="cannot be opened as asked") as kept:
        Archive.open(archive.path, write=True)
    monkeypatch.undo()
    with Archive.open(archive.path, write=True) as writer:
        writer.append(tell(1, "a = 1", (0.1, 0.1)))
        assert len(writer.records()) == 1
    assert kept.tb is not None, "the frames that failed are alive until here: no lock was given back by their end"


def test_a_writer_that_comes_while_a_reader_opens_is_seen(
    archive: Archive, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.close()
    writers: list[Archive] = []
    connect = database.connect_reader

    def slow(path: Path) -> sqlite3.Connection:
        """A connection between which and the next look at the files a writer begins."""
        found = connect(path)
        monkeypatch.undo()
        writers.append(Archive.open(path, write=True))
        writers[0].append(tell(1, "a = 1", (0.1, 0.1)))
        return found

    monkeypatch.setattr(database, "connect_reader", slow)
    with Archive.open(archive.path) as reader, writers[0] as writer:
        assert [record.iteration for record in reader.records()] == [1]
        writer.append(tell(2, "a = 2", (0.1, 0.1)))
        assert reader.head == writer.head == 3


def test_a_writer_that_ends_while_a_reader_looks_again_hides_no_later_one(
    archive: Archive, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.close()
    connect = database.connect_reader
    with Archive.open(archive.path) as reader:
        writer = Archive.open(archive.path, write=True)
        writer.append(tell(1, "a = 1", (0.1, 0.1)))

        def slow(path: Path) -> sqlite3.Connection:
            """A connection before which a writer ends whose pending writes were still there at the look."""
            monkeypatch.undo()
            writer.close()
            return connect(path)

        monkeypatch.setattr(database, "connect_reader", slow)
        assert reader.head == 2 and not database.has_writer(archive.path)
        with Archive.open(archive.path, write=True) as later:
            later.append(tell(2, "a = 2", (0.1, 0.1)))
            assert reader.head == later.head == 3


def breaks(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The last that is read of a database before it is open fails."""

    def fail(*_: object) -> None:
        raise PermissionError("not any more")

    monkeypatch.setattr(database if what == "stamp" else log, what, fail)
