"""Notes and pins stand beside a run and never touch it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive import Archive, notes
from vevolve.errors import BadInput


def test_notes_add_up_and_can_be_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "archive.db"
    notes.note(file, "a", "first")
    notes.note(file, "a", "second\nline")
    notes.pin(file, "b")
    assert [text for _, text in notes.read(file)["a"].texts] == ["first", "second\nline"]
    assert notes.read(file)["b"].pinned
    notes.note(file, "a", "")
    notes.pin(file, "b", False)
    assert notes.read(file) == {}


def test_notes_are_written_while_the_run_goes_on(archive: Archive, tell: Callable[..., Any]) -> None:
    archive.append(tell(0, "x = 1", (0.5, 0.5), operation="seed"))
    notes.note(archive.path, archive.records()[0].id, "seen")
    archive.append(tell(1, "x = 2", (0.4, 0.4)))
    archive.verify()
    assert len(notes.read(archive.path)) == 1


def test_notes_written_at_once_are_all_kept_whole(tmp_path: Path) -> None:
    file = tmp_path / "archive.db"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: notes.note(file, "a", f"{n} " + "é" * 900), range(64)))
    found = [int(text.split()[0]) for _, text in notes.read(file)["a"].texts]
    assert sorted(found) == list(range(64))


def test_a_line_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "archive.db"
    notes.pin(file, "a")
    with notes.file_of(file).open("ab") as handle:
        handle.write(b'{"kind": "no\xff\n[1]\n{}\nnull\n')
    notes.pin(file, "b")
    assert sorted(notes.read(file)) == ["a", "b"]


def test_a_note_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at most 2000 characters; found 2001"):
        notes.note(tmp_path / "archive.db", "a", "x" * 2001)
