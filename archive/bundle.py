"""A folder that a colleague can read and run: programs, tables, reports, and a copy of the database."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path
from urllib.parse import quote

from vevolve.archive import database, report
from vevolve.archive.export import export, one_line
from vevolve.archive.store import Archive
from vevolve.errors import ArchiveError, BadInput

README = """\
# {name}

A run of vEvolve {version} on the problem `{problem}`. Programs here were written by a machine and lived in a sandbox;
nothing holds them now: read before you run or import.

- `report.md`, `report.html`: what was found, and how to reproduce it.
- `front/`: the programs on the front of the {split} split, the one that it would miss most first.
- `programs/`: every valid program.
- `points.csv`: every operating point; `candidates.json`: every candidate, failures included.
- `run/archive.db`: the event log itself.

```console
$ pip install vevolve=={version}
$ vevolve eval front/{first} --problem {problem}     # judge one again, in a sandbox
$ vevolve web run                                    # the whole run as a page; needs 'vevolve[web]'
```
"""


def write(archive: Archive, folder: Path) -> list[Path]:
    """Fill a new folder. Returns the files that were written.

    Raises:
        BadInput: the folder holds something already.
        ArchiveError: the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} exists already and is not empty; name another folder.")
    try:
        return _write(archive, folder)
    except OSError as error:
        raise ArchiveError(f"Cannot write the folder {folder}: {error.strerror or error}.") from error


def _write(archive: Archive, folder: Path) -> list[Path]:
    for part in (folder / "front", folder / "programs", folder / "run"):
        part.mkdir(parents=True, exist_ok=True)
    name = archive.path.parent.resolve().name
    facts = report.facts(archive, name)
    split = facts["split"]
    written: list[Path] = []

    def put(path: Path, content: str | bytes) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
        written.append(path)

    ranks = archive.ranks(split)
    valid = archive.records(valid=True)
    front = [record.id for record in archive.front(split)]
    names: list[str] = []
    for record in valid:
        stem = f"{record.iteration:05}-{record.id[:10]}"
        places = [folder / "programs" / f"{stem}.py"]
        if record.id in front:
            places.append(folder / "front" / f"{front.index(record.id) + 1:02}-{record.id[:10]}.py")
            names.append(places[-1].name)
        for place in places:
            put(place, export(record, archive.started))
            if record.params is not None:
                put(place.with_suffix(".safetensors"), record.params)
    everything = [record.to_json(ranks.get(record.id)) for record in archive.records()]
    put(folder / "candidates.json", json.dumps(everything, indent=1, allow_nan=False))
    written.append(_points(archive, folder / "points.csv"))
    put(folder / "report.md", report.markdown(facts))
    put(folder / "report.html", report.html(facts))
    started = archive.started
    first = min(names, default="PROGRAM.py")
    put(
        folder / "README.md",
        README.format(
            name=one_line(name), version=started.version, problem=one_line(started.problem), split=split, first=first
        ),
    )
    written.append(_copy(archive.path, folder / "run" / database.FILE))
    return written


def _points(archive: Archive, path: Path) -> Path:
    rows = [(one, spot) for one in archive.summaries() for spot in one.spots]
    figures = list(dict.fromkeys(name for _, spot in rows for name in spot.figures))
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        table = csv.writer(file)
        table.writerow(["candidate", "iteration", "status", "split", "family", "point", *figures])
        for one, spot in rows:
            place = [one.id, one.iteration, one.status, spot.split, _cell(spot.family), _cell(spot.label)]
            table.writerow([*place, *(_cell(spot.figures.get(name)) for name in figures)])
    return path


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _copy(path: Path, to: Path) -> Path:
    """A whole copy of a database, also while it is written to."""
    with database.explained(path, then="export again"):
        mode = "mode=ro" if database.has_writer(path) else "mode=ro&immutable=1"
        source = sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True)
        target = sqlite3.connect(to)
        try:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            source.close()
            target.close()
    return to
