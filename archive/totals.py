"""What a run has done and spent so far."""

from __future__ import annotations

import sqlite3

from pydantic import Field

from vevolve.archive import log
from vevolve.archive.events import Proposed, Told
from vevolve.archive.fold import UNEXAMINED
from vevolve.archive.log import Entry
from vevolve.types import Value


class Share(Value):
    """What one proposer did."""

    told: int = 0
    """Iterations that ended with its work."""
    valid: int = 0
    """Of these, those whose program was valid."""
    replies: int = 0
    failures: int = 0
    """Calls that brought no usable reply."""
    usd: float = 0.0
    unpriced: int = 0
    """Replies whose price is unknown; `usd` leaves them out."""
    input_tokens: int = 0
    output_tokens: int = 0


class Totals(Value):
    """The whole run, seeds left out."""

    iterations: int = 0
    """Told."""
    evaluations: int = 0
    """Told after an examination: neither duplicates nor replies that held no program."""
    valid: int = 0
    usd: float = 0.0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    by_proposer: dict[str, Share] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)
    """Status -> how often it was told; "ok" is not among them."""


class Tally:
    """Counts as the log grows, so that the loop can ask after every event.

    Attributes:
        seq: the last row of the log that is counted.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        """Count what the tables hold, inside the transaction that is open."""
        self.seq = log.head(db)[0]
        self._shares: dict[str, dict[str, float]] = {}
        self._statuses: dict[str, int] = {}
        for row in db.execute("SELECT proposer, usd, input_tokens, output_tokens, error FROM proposals"):
            self._proposed(*row)
        for row in db.execute("SELECT proposer, operation, status FROM tells"):
            self._told(*row)

    def add(self, entry: Entry) -> None:
        """Count one more entry, unless it is counted already."""
        if entry.seq <= self.seq:
            return
        self.seq = entry.seq
        match entry.event:
            case Proposed() as event:
                self._proposed(event.proposer, event.usd, event.input_tokens, event.output_tokens, event.error)
            case Told() as event:
                self._told(event.proposer, event.operation, event.verdict.status)
            case _:
                pass

    def totals(self) -> Totals:
        """The counts so far."""
        shares = {name: Share.model_validate(share) for name, share in sorted(self._shares.items())}
        told = sum(self._statuses.values())
        return Totals(
            iterations=told,
            evaluations=told - sum(self._statuses.get(status, 0) for status in UNEXAMINED),
            valid=self._statuses.get("ok", 0),
            usd=sum(share.usd for share in shares.values()),
            unpriced=sum(share.unpriced for share in shares.values()),
            input_tokens=sum(share.input_tokens for share in shares.values()),
            output_tokens=sum(share.output_tokens for share in shares.values()),
            by_proposer=shares,
            failures={status: count for status, count in sorted(self._statuses.items()) if status != "ok"},
        )

    def _proposed(self, proposer: str, usd: float | None, read: int, written: int, error: str) -> None:
        share = self._share(proposer)
        share["failures" if error else "replies"] += 1
        share["unpriced"] += usd is None
        share["usd"] += usd or 0.0
        share["input_tokens"] += read
        share["output_tokens"] += written

    def _told(self, proposer: str, operation: str, status: str) -> None:
        if operation == "seed":
            return
        share = self._share(proposer)
        share["told"] += 1
        share["valid"] += status == "ok"
        self._statuses[status] = self._statuses.get(status, 0) + 1

    def _share(self, proposer: str) -> dict[str, float]:
        return self._shares.setdefault(proposer, dict.fromkeys(Share.model_fields, 0))
