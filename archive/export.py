"""Write a candidate to files that a person can take away.

Whatever a model or a candidate wrote stays where it is put: in a program's header each line is a comment, in Markdown
it is a quoted literal, and control characters and line separators of every kind are spelled out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from vevolve.archive.events import Started
from vevolve.archive.record import Record
from vevolve.errors import ArchiveError, BadInput
from vevolve.types import Point

Form = Literal["py", "md"]

WARNING = (
    "This program was written by a machine. In a run it lived in a sandbox; here nothing holds it.",
    "Read it before you run or import it.",
)


def export(record: Record, started: Started, form: Form = "py") -> str:
    """A candidate as the text of a file: its program under a header of provenance, or a page of Markdown.

    Raises:
        BadInput: the candidate is a reply that held no program.
    """
    if record.status == "unapplied":
        raise BadInput(f"Candidate {record.id[:12]} is a reply that held no program; `show` prints it.")
    return _markdown(record, started) if form == "md" else _program(record, started)


def write(record: Record, started: Started, path: Path) -> list[Path]:
    """Write `path` in the form that its suffix names, and the parameters, if any, beside it. Returns what was written.

    Raises:
        BadInput: a suffix other than `.py` and `.md`, a candidate without a program, or a file that exists already.
        ArchiveError: the file cannot be written.
    """
    if path.suffix not in (".py", ".md"):
        raise BadInput(f"A candidate is exported as .py or .md, not as '{path.name}'.")
    files: list[tuple[Path, bytes]] = [
        (path, export(record, started, "md" if path.suffix == ".md" else "py").encode("utf-8", "replace"))
    ]
    if record.params is not None:
        files.append((path.with_suffix(".safetensors"), record.params))
    for file, _ in files:
        if file.exists():
            raise BadInput(f"{file} exists already; name another file, or remove it first.")
    for file, content in files:
        try:
            with file.open("xb") as handle:
                handle.write(content)
        except FileExistsError as error:
            raise BadInput(f"{file} exists already; name another file, or remove it first.") from error
        except OSError as error:
            raise ArchiveError(f"{file} cannot be written ({error.strerror}); name another place.") from error
    return [file for file, _ in files]


def one_line(text: str, most: int = 300) -> str:
    """Text as one line of printable characters, the others spelled out, cut to `most` of them."""
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text.strip())
    return plain if len(plain) <= most else plain[: most - 3] + "..."


def _provenance(record: Record, started: Started) -> list[tuple[str, str]]:
    pairs = [
        ("candidate", record.id),
        ("problem", f"{started.problem} (hash {started.problem_hash})"),
        ("run", f"{started.run}, vevolve {started.version}"),
        ("made by", f"{record.proposer}, {record.operation}, iteration {record.iteration}"),
        ("told", datetime.fromtimestamp(record.time, UTC).isoformat(timespec="seconds")),
        ("parents", ", ".join(record.parents) or "none"),
        ("status", record.status + (", promoted" if record.promoted else "")),
    ]
    if record.idea:
        pairs.append(("idea", record.idea))
    pairs.extend((f"{point.split} point", _figures(point)) for point in record.points)
    return [(name, one_line(value)) for name, value in pairs]


def _figures(point: Point) -> str:
    named = {"family": point.family} if point.family else {}
    figures = ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in {**named, **(point.model_extra or {})}.items()
    )
    return f"{point.label}: {figures}" if point.label else figures


def _program(record: Record, started: Started) -> str:
    """The first two lines are ours alone: Python would take an encoding from a comment there."""
    lines = ["Exported by vEvolve.", *WARNING, ""]
    lines += [f"{name}: {value}" for name, value in _provenance(record, started)]
    header = "\n".join(f"# {line}".rstrip() for line in lines)
    return f"{header}\n\n{record.source.rstrip()}\n"


def _markdown(record: Record, started: Started) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", record.source)), default=0))
    rows = "\n".join(f"- {name}: {literal(value)}" for name, value in _provenance(record, started))
    return (
        f"# Candidate {record.id[:12]}\n\n> {' '.join(WARNING)}\n\n{rows}\n\n"
        f"{fence}python\n{record.source.rstrip()}\n{fence}\n"
    )


def literal(text: str) -> str:
    """One line as a code span, which no mark-up inside can leave."""
    ticks = "`" * (1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{ticks} {text} {ticks}"
