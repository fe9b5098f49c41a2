"""Elites: promoted programs that beat their incumbent on fresh documents by more than luck. A fold of the log.

Promotion looks at few recorded documents, so some of what is promoted is luck. A promoted program is *unconfirmed*
until its comparison says more; an elite that loses as it ages is *demoted*. The first promoted program, the seed of
most runs, has no incumbent: it is the *first*, with which later ones are compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal

from vevolve.archive.events import Compared, Selected
from vevolve.archive.record import Record
from vevolve.archive.store import Archive
from vevolve.archive.summaries import Summary

Place = Literal["first", "elite", "unconfirmed", "demoted"]
UNMET = (
    "compared with none: it still waited for its documents, or its new points improve an elite, or the first, by next"
    " to nothing on select"
)
"""What is said of an unconfirmed program that met no incumbent."""


@dataclass(frozen=True)
class Elite:
    """A program that was compared, and what came of it so far.

    Attributes:
        candidate: its id.
        iteration: that made it.
        incumbent: what it was compared with.
        claims: labels of the operating points at which it is held to be better.
        claimed: the gain that it showed on `select`.
        place: what it is now.
        since: the last iteration told before it became an elite.
        gains: by document, of the comparison that decided.
        later: by document, of those since.
        evidence: e-value for it, of the comparison that decided.
        level: what its test spent; the e-value had to reach one over this.
        lower: 95 % lower confidence limit of the mean gain, each gain cut at `claimed` on either side, as a share of
            `claimed`; over all documents so far.
        aged: iterations since it became an elite, when it last was to meet its incumbent again; 0 before.
        standing: e-value for it over all documents so far.
    """

    candidate: str
    iteration: int
    incumbent: str
    claims: tuple[str, ...]
    claimed: float
    place: Place
    since: int
    gains: tuple[float, ...]
    later: tuple[float, ...]
    evidence: float
    level: float
    lower: float
    aged: int = 0
    standing: float = 0.0

    @property
    def wins(self) -> int:
        """Documents that it won."""
        return sum(gain > 0 for gain in (*self.gains, *self.later))

    def __str__(self) -> str:
        """One sentence."""
        count = len(self.gains) + len(self.later)
        since = f" ({self.standing:.3g} with those since)" if self.later else ""
        return (
            f"{self.place}: won {self.wins} of {count} fresh documents against {self.incumbent[:10]} at "
            f"{', '.join(self.claims)}; e-value {self.evidence:.3g}, {1 / self.level:.3g} needed{since}; mean gain, "
            f"each cut at the claim, at least {self.lower:.0%} of it (95 % confidence)"
        )


class Elites:
    """What the comparisons of a run have led to.

    Attributes:
        first: the first promoted program; "" before it.
        compares: whether any program was compared so far, or waits for it.
        tests: comparisons that could have made an elite.
        made: those that did.
        compared: candidate -> what came of it, in the order of the log.
    """

    def __init__(self) -> None:
        self.first = ""
        self.compares = False
        self.tests = self.made = 0
        self.compared: dict[str, Elite] = {}

    def take(self, event: Selected | Compared) -> None:
        """Take in the next selection or comparison of the log."""
        if isinstance(event, Selected):
            if event.promoted and not self.first:
                self.first = event.candidate
            self.compares = self.compares or bool(event.incumbent)
            return
        self.compares = True
        before = self.compared.get(event.candidate)
        if event.aged and before is not None:
            self.compared[event.candidate] = replace(
                before,
                place="elite" if event.elite else "demoted",
                later=(*before.later, *event.gains),
                lower=event.lower,
                aged=event.aged,
                standing=event.evidence,
            )
            return
        self.tests += 1
        self.made += event.elite
        self.compared[event.candidate] = Elite(
            candidate=event.candidate,
            iteration=event.iteration,
            incumbent=event.incumbent,
            claims=event.claims,
            claimed=event.claimed,
            place="elite" if event.elite else "unconfirmed",
            since=event.told,
            gains=event.gains,
            later=(),
            evidence=event.evidence,
            level=event.level,
            lower=event.lower,
            standing=event.evidence,
        )

    @property
    def standing(self) -> list[Elite]:
        """The elites, ranked by the lower confidence limit of the gain of each over its own incumbent."""
        found = [one for one in self.compared.values() if one.place == "elite"]
        return sorted(found, key=lambda one: -one.lower * one.claimed)

    @property
    def counts(self) -> Counter[Place]:
        """How many of those that were compared are what."""
        return Counter(one.place for one in self.compared.values())

    @property
    def incumbents(self) -> list[str]:
        """Whom the next promoted program may be compared with."""
        return ([self.first] if self.first else []) + [one.candidate for one in self.standing]

    def place(self, record: Record | Summary) -> Place | None:
        """What a candidate is; None where it was not promoted, or where this run has begun to compare none."""
        if not self.compares or not record.promoted:
            return None
        if record.id == self.first:
            return "first"
        known = self.compared.get(record.id)
        return known.place if known else "unconfirmed"

    def sentence(self, record: Record | Summary) -> str:
        """What came of it, for a reader; "" where there is nothing to say."""
        known, place = self.compared.get(record.id), self.place(record)
        return str(known) if known else f"{place}: {UNMET}" if place == "unconfirmed" else place or ""

    def to_json(self, record: Record | Summary) -> dict[str, Any]:
        """The fields that a list of candidates adds."""
        known = self.compared.get(record.id)
        return {
            "elite": self.place(record),
            "evidence": known.evidence if known else None,
            "level": known.level if known else None,
            "incumbent": known.incumbent if known else None,
            "wins": known.wins if known else None,
            "documents": len(known.gains) + len(known.later) if known else None,
            "gain_lower": known.lower if known else None,
        }


def elites(archive: Archive) -> Elites:
    """The elites of a run."""
    found = Elites()
    follow(archive, found)
    return found


def follow(archive: Archive, found: Elites, after: int = 0) -> int:
    """Take in what the log holds after a row. Returns the last row that was read.

    Selections say nothing new once the first promoted program is known and anything was compared. They hold whole
    verdicts, so from then on they are not read.
    """
    while True:
        settled = bool(found.first) and found.compares
        for entry in archive.events(after, kinds=("compared",) if settled else ("selected", "compared")):
            after = entry.seq
            if isinstance(entry.event, Selected | Compared):
                found.take(entry.event)
            if not settled and found.first and found.compares:
                break
        else:
            return after
