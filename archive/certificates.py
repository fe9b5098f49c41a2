"""Certificates: an attempt's rows of the log, with the program they are about, in one file that anyone can check.

A certificate follows from the log and can be made again. `vevolve.archive.checker` accepts or rejects it.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from vevolve.archive import log
from vevolve.archive.events import CERTIFICATION, Concluded, Registered, Statement
from vevolve.archive.log import Entry
from vevolve.archive.store import Archive
from vevolve.errors import ArchiveError, BadInput
from vevolve.types import Candidate


def attempts(archive: Archive) -> Counter[str]:
    """Candidate -> how many attempts at a certificate its log holds, those that were given up included."""
    found = (entry.event for entry in archive.events(kinds=("registered",)))
    return Counter(event.candidate for event in found if isinstance(event, Registered))


def attempts_before(archive: Archive, candidate: str, seq: int) -> int:
    """How many attempts at a candidate stand in the log before row `seq`."""
    found = (entry for entry in archive.events(kinds=("registered",)) if entry.seq < seq)
    return sum(isinstance(one.event, Registered) and one.event.candidate == candidate for one in found)


def issued(archive: Archive) -> dict[str, list[tuple[int, Registered]]]:
    """Candidate -> the row and the registration of every attempt that ended in a certificate, oldest first."""
    found: dict[str, list[tuple[int, Registered]]] = {}
    latest: tuple[int, Registered] | None = None
    for entry in archive.events(kinds=("registered", "concluded")):
        if isinstance(entry.event, Registered):
            latest = entry.seq, entry.event
        elif isinstance(entry.event, Concluded) and entry.event.issued and latest is not None:
            found.setdefault(entry.event.candidate, []).append(latest)
    return found


def refuted(archive: Archive) -> set[int]:
    """The rows that registered a certificate which a later attempt, at its claim or a weaker one, did not support.

    An attempt that failed says nothing of a stricter or another claim, and one that passed nothing of those that do
    not follow from it; of those that say something, the latest counts.
    """
    standing: dict[int, Registered] = {}
    failed: set[int] = set()
    latest: tuple[int, Registered] | None = None
    for entry in archive.events(kinds=("registered", "concluded")):
        if isinstance(entry.event, Registered):
            latest = entry.seq, entry.event
        elif isinstance(entry.event, Concluded) and latest is not None:
            seq, tried = latest
            if entry.event.issued:
                failed -= {one for one, held in standing.items() if implies(tried, held)}
                standing[seq] = tried
            else:
                failed |= {one for one, held in standing.items() if implies(held, tried)}
    return failed


def implies(one: Registered, other: Registered) -> bool:
    """Whether the claim of an attempt cannot hold unless that of another, about the same documents, does too."""
    own, its = one.statement, other.statement
    return (
        (one.candidate, one.point["label"]) == (other.candidate, other.point["label"])
        and all(one.generator.get(name) == other.generator.get(name) for name in ("name", "model"))
        and set(one.generator.get("layers", ())) >= set(other.generator.get("layers", ()))
        and own.epsilon <= its.epsilon
        and own.delta <= its.delta
        and own.delta_token <= its.delta_token
    )


def standing(archive: Archive) -> dict[str, set[str]]:
    """Candidate -> the labels of the operating points that a certificate is about which no later attempt refuted."""
    failed = refuted(archive)
    return {
        id: labels
        for id, found in issued(archive).items()
        if (labels := {registered.point["label"] for seq, registered in found if seq not in failed})
    }


def ranked(archive: Archive) -> dict[str, list[tuple[Registered, str]]]:
    """Candidate -> its certificates, each with what is said behind it: " (failed since)", or "" where it stands.

    Those that failed come first, and the latest that stands last.
    """
    failed = refuted(archive)
    return {
        id: [
            (registered, " (failed since)" if seq in failed else "")
            for seq, registered in sorted(found, key=lambda one: (one[0] not in failed, one[0]))
        ]
        for id, found in issued(archive).items()
    }


def short(statement: Statement) -> str:
    """A certificate in a table's cell."""
    return f"eps={statement.epsilon:g} delta={statement.delta:g}"


def assemble(archive: Archive, seq: int, candidate: Candidate, version: str) -> dict[str, Any]:
    """The certificate of the attempt that row `seq` of the log registered.

    Raises:
        ArchiveError: the row registers no attempt, or the attempt never ended.
    """
    from vevolve.archive.checker import FORMAT, claim  # here, since it needs numpy, and a list of runs does not

    rows: list[Entry] = []
    for entry in archive.events(after=seq - 1):
        if entry.event.kind not in CERTIFICATION:
            break
        rows.append(entry)
        if isinstance(entry.event, Concluded):
            break
    if not rows or not isinstance(rows[0].event, Registered) or not isinstance(rows[-1].event, Concluded):
        raise ArchiveError(f"Row {seq} of {archive.path} begins no attempt at a certificate that was concluded.")
    before = next(iter(archive.events(after=seq - 2)))
    return {
        "format": FORMAT,
        "vevolve": version,
        "claim": claim(rows[0].event.model_dump(mode="json")),
        "statement": rows[0].event.statement.model_dump(),
        "candidate": {
            "id": candidate.id,
            "source": candidate.source,
            "params": None if candidate.params is None else base64.b64encode(candidate.params).decode(),
        },
        "figures": rows[-1].event.figures,
        "log": {
            "before": {"seq": before.seq, "hash": before.hash},
            "rows": [
                {"seq": row.seq, "time": row.time, "event": json.loads(log.canonical(row.event)), "hash": row.hash}
                for row in rows
            ],
            "head": {"seq": rows[-1].seq, "hash": rows[-1].hash},
        },
    }


def write(certificate: dict[str, Any], path: Path) -> None:
    """Write a certificate; the file appears once it is complete. Raises `BadInput` where the disk refuses."""
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False) as file:
            json.dump(certificate, file, indent=1, allow_nan=False)
        Path(file.name).chmod(0o666 & ~_umask())
        Path(file.name).replace(path)
    except OSError as error:
        raise BadInput(f"Cannot write the certificate {path}: {error.strerror or error}.") from error


def read(path: Path) -> dict[str, Any]:
    """A certificate's file as it stands, unchecked. Raises `BadInput` where it holds no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot read the certificate: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path}: expected a certificate, a JSON file that `vevolve certify` writes; {error}. It may be cut short."
        ) from error
    if not isinstance(found, dict) or "format" not in found:
        raise BadInput(f"{path}: expected a certificate, which `vevolve certify` writes; found other JSON.")
    return {str(key): value for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType]


def candidate_of(certificate: dict[str, Any]) -> Candidate:
    """The program that a certificate is about."""
    named = certificate["candidate"]
    return Candidate(named["source"], None if named["params"] is None else base64.b64decode(named["params"]))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
