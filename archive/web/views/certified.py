"""What was tried to certify of a candidate, with the evidence: every document, and what came out on it."""

from __future__ import annotations

import shlex
from typing import Any

from vevolve.archive import certificates
from vevolve.archive.events import CERTIFICATION, Concluded, Examined, Registered
from vevolve.archive.log import Entry
from vevolve.archive.web.sight import Sight
from vevolve.errors import UnknownName


def attempts(sight: Sight, id: str) -> list[dict[str, Any]]:
    """Every attempt at a candidate, the latest first, those that failed included.

    One has `issued` (None where it never ended), `refuted` (a later attempt did not support it), `claim`, `reason`,
    `figures`, and `documents` with the share of units whose error exceeded epsilon, in all heads and in the worst.
    """
    found: list[list[Entry]] = []
    for entry in sight.archive.events(kinds=CERTIFICATION):
        if isinstance(entry.event, Registered):
            found.append([])
        if found:
            found[-1].append(entry)
    own = [rows for rows in found if isinstance(rows[0].event, Registered) and rows[0].event.candidate == id]
    failed = certificates.refuted(sight.archive)
    return [_attempt(sight, rows, failed) for rows in own][::-1]


def certificate(sight: Sight, seq: str) -> dict[str, Any]:
    """The certificate that row `seq` of the log registered, as `vevolve certify` writes it. Raises `UnknownName`."""
    for issued in certificates.issued(sight.archive).values():
        for number, registered in issued:
            if str(number) == seq:
                record = sight.archive.record(registered.candidate)
                return certificates.assemble(sight.archive, number, record.candidate, sight.archive.started.version)
    known = [str(number) for issued in certificates.issued(sight.archive).values() for number, _ in issued]
    raise UnknownName("certificate", seq, known)


def _attempt(sight: Sight, rows: list[Entry], failed: set[int]) -> dict[str, Any]:
    first, last = rows[0].event, rows[-1].event
    assert isinstance(first, Registered)
    ended = last if isinstance(last, Concluded) else None
    issued = None if ended is None else ended.issued
    return {
        "seq": rows[0].seq,
        "time": rows[0].time,
        "purpose": first.purpose,
        "point": first.point["label"],
        "statement": first.statement.model_dump(),
        "issued": issued,
        "refuted": rows[0].seq in failed,
        "claim": certificate(sight, str(rows[0].seq))["claim"] if issued else "",
        "reason": "it never ended" if ended is None else ended.reason,
        "figures": {} if ended is None else ended.figures,
        "level": first.containment.level,
        "documents": [_document(row.event) for row in rows if isinstance(row.event, Examined)],
        "file": f"certificate-{rows[0].seq}.json",
        "command": shlex.join(["vevolve", "verify", f"certificate-{rows[0].seq}.json"]),
    }


def _document(event: Examined) -> dict[str, Any]:
    heads = [text for found in event.over.values() for text in found]
    shares = [text.count("1") / len(text) for text in heads if text]
    return {
        "document": event.document,
        "stratum": event.stratum,
        "source": event.source,
        "over": sum(shares) / len(shares) if shares else 0.0,
        "worst": max(shares, default=0.0),
        "differs": event.differs.count("1"),
        "steps": len(event.differs),
    }
