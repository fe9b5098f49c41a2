"""What people write beside a run: notes and pins, in `notes.jsonl` next to its database.

They are opinions, not facts of the run: they may be written while the run goes on, when only its driver may write the
database, and they may be taken back, which the log does not know. So they stand in a file of their own, one JSON object
a line, that is only ever added to; a line is written in one piece, and one that cannot be read is passed over.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vevolve.errors import BadInput

FILE = "notes.jsonl"
LONGEST = 2000
"""Characters of a note."""


@dataclass
class Notes:
    """What was said of one candidate.

    Attributes:
        pinned: it is to be found again.
        texts: (seconds since 1970, note), oldest first.
    """

    pinned: bool = False
    texts: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])


def file_of(archive: Path) -> Path:
    """The notes that belong to a database."""
    return archive.with_name(FILE)


def read(archive: Path) -> dict[str, Notes]:
    """Candidate -> what was said of it."""
    found: dict[str, Notes] = {}
    try:
        lines = file_of(archive).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadInput(f"Cannot read the notes {file_of(archive)}: {error.strerror}.") from error
    for text in lines:
        try:
            line: dict[str, Any] = json.loads(text)
            about, kind, when = str(line["candidate"]), str(line["kind"]), float(line["time"])
        except (ValueError, TypeError, KeyError):
            continue
        one = found.setdefault(about, Notes())
        if kind == "note":
            one.texts.append((when, str(line.get("text", ""))))
        elif kind in ("pin", "unpin"):
            one.pinned = kind == "pin"
        elif kind == "clear":
            one.texts.clear()
    return {about: one for about, one in found.items() if one.pinned or one.texts}


def note(archive: Path, candidate: str, text: str) -> None:
    """Say something of a candidate; an empty text takes back all that was said of it. Raises `BadInput`."""
    if len(text) > LONGEST:
        raise BadInput(f"A note has at most {LONGEST} characters; found {len(text)}.")
    if text.strip():
        _add(archive, {"kind": "note", "candidate": candidate, "text": text.strip()})
    else:
        _add(archive, {"kind": "clear", "candidate": candidate})


def pin(archive: Path, candidate: str, wanted: bool = True) -> None:
    """Pin a candidate, or unpin it. Raises `BadInput` where the disk refuses."""
    _add(archive, {"kind": "pin" if wanted else "unpin", "candidate": candidate})


def _add(archive: Path, line: dict[str, str]) -> None:
    """One write of one line: two commands at once leave two whole lines."""
    text = json.dumps({"time": time.time(), **line}) + "\n"
    try:
        handle = os.open(file_of(archive), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, text.encode("ascii"))
        finally:
            os.close(handle)
    except OSError as error:
        raise BadInput(f"Cannot write the notes {file_of(archive)}: {error.strerror}.") from error
