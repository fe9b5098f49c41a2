"""Nothing that was appended is lost or half there, whatever ends the writer; readers never stand in its way."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Ended, Started, Told
from vevolve.errors import ArchiveError

Tell = Callable[..., Told]

WRITER = """
import sys
from pathlib import Path
from vevolve.archive import Archive
from vevolve.archive.events import Asked, Told
from vevolve.types import Point, Verdict

with Archive.open(Path(sys.argv[1]), write=True) as archive:
    for number in range(1, 100_000):
        points = (Point(traffic=1 / number, error=0.5), Point(traffic=0.5, error=1 / number))
        verdict = Verdict(valid=True, points=points, feedback="x" * 3000)
        archive.append(
            Asked(iteration=number, operation="mutate", parents=(), proposer="p"),
            Told(iteration=number, source=f"x = {number}", operation="mutate", proposer="p", verdict=verdict),
        )
        print(number, flush=True)
"""


@pytest.fixture
def writer(archive: Archive) -> Iterator[subprocess.Popen[str]]:
    """Another process that appends to the archive without end and prints the iterations that it has appended."""
    archive.close()
    command = [sys.executable, "-c", WRITER, str(archive.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def appended(process: subprocess.Popen[str], least: int) -> int:
    """The last iteration that the writer said it had appended, at least `least`."""
    assert process.stdout is not None
    return next(number for number in map(int, process.stdout) if number >= least)


@pytest.mark.parametrize("least", [1, 40, 97])
def test_a_writer_that_is_killed_loses_nothing_it_had_appended(
    archive: Archive, writer: subprocess.Popen[str], least: int, tell: Tell
) -> None:
    appended(writer, least)
    writer.send_signal(signal.SIGKILL)
    assert writer.stdout is not None
    last = max([least, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    writer.wait()

    with Archive.open(archive.path) as reader:
        told = [entry.event.iteration for entry in reader.events(kinds=["told"]) if isinstance(entry.event, Told)]
        assert told == list(range(1, len(told) + 1)) and last <= len(told) <= last + 1
        assert len(list(reader.events())) == 1 + 2 * len(told)
        assert reader.totals().iterations == len(told)
        reader.verify()
    with Archive.open(archive.path, write=True) as again:
        again.append(tell(len(told) + 1, "resumed = 1", (0.1, 0.1)))
        again.verify()


def test_readers_see_whole_appends_while_another_process_writes(
    archive: Archive, writer: subprocess.Popen[str]
) -> None:
    appended(writer, 5)
    with Archive.open(archive.path) as reader:
        for least in (10, 20, 40, 80):
            known = appended(writer, least)
            assert len(reader.ranks()) >= known
            events = list(reader.events())
            assert len(events) % 2 == 1 and len(events) >= 1 + 2 * known
            assert reader.totals().iterations >= known
            assert reader.unfinished() == []
        assert writer.poll() is None
        reader.verify()


def test_a_full_disk_gives_one_line_and_nothing_half_written(archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, "a = 1", (0.5, 0.5)))
    ranks, wal = archive.ranks(), archive.path.with_name("archive.db-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 10_000, hard))
    try:
        with pytest.raises(ArchiveError) as full:
            archive.append(tell(2, "b = 1", (0.1, 0.1)), tell(3, "c = 1\n" + "# filler\n" * 20_000, (0.2, 0.2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "free space" in str(full.value) and "\n" not in str(full.value)
    assert archive.ranks() == ranks and len(list(archive.events())) == 2

    archive.append(tell(2, "b = 1", (0.1, 0.1)))
    archive.verify()
    archive.close()
    with Archive.open(archive.path) as reader:
        assert [record.source for record in reader.records()] == ["a = 1", "b = 1"]


def test_a_disk_too_full_to_begin_leaves_nothing_in_the_way(tmp_path: Path, start: Callable[..., Started]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(ArchiveError, match="free space"):
            Archive.create(tmp_path, start())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Archive.create(tmp_path, start()) as archive:
        archive.verify()


def test_a_database_that_may_not_grow_says_so(archive: Archive, tell: Tell) -> None:
    archive._db.execute("PRAGMA max_page_count = 60")
    with pytest.raises(ArchiveError, match="free space"):
        for number in range(100):
            archive.append(tell(number, f"x = {number}\n" + "# filler\n" * 500, (0.1, 0.1)))
    archive.verify()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, start: Callable[..., Started]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArchiveError) as refused:
        Archive.create(tmp_path / "file" / "run", start())
    assert str(tmp_path / "file") in str(refused.value) and "\n" not in str(refused.value)


def test_a_database_held_by_another_process_says_so(archive: Archive) -> None:
    other = sqlite3.connect(archive.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    archive._db.execute("PRAGMA busy_timeout = 20")
    with pytest.raises(ArchiveError, match="held by another process"):
        archive.append(Ended(reason="stopped"))
    other.execute("ROLLBACK")
    other.close()
    archive.append(Ended(reason="stopped"))
    archive.verify()


def test_a_copy_of_the_database_alone_holds_all_that_a_finished_writer_wrote(
    archive: Archive, tell: Tell, tmp_path: Path
) -> None:
    with Archive.open(archive.path) as reader:  # as a run's own, which looks on to the end
        for number in range(20):
            archive.append(tell(number, f"x = {number}", (0.5, 0.5)))
        assert reader.totals().iterations == 20
        archive.close()
        alone = tmp_path / "copy.db"
        alone.write_bytes(archive.path.read_bytes())
        with Archive.open(alone) as copy:
            assert copy.tip == reader.tip
            copy.verify()


def test_a_reader_in_the_middle_of_a_look_neither_delays_the_end_of_a_writer_nor_loses_it_anything(
    archive: Archive, tell: Tell
) -> None:
    looking = sqlite3.connect(archive.path, isolation_level=None)
    looking.execute("BEGIN")
    looking.execute("SELECT count(*) FROM events").fetchone()
    archive.append(tell(1, "x = 1", (0.5, 0.5)))
    tip = archive.tip
    archive.close()
    assert archive.path.with_name("archive.db-wal").stat().st_size > 0, "the look still needs what was there before"
    looking.close()
    with Archive.open(archive.path) as reader:
        assert reader.tip == tip
