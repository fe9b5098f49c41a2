"""When a proposer is given up: it fails again and again, or its answers never make a new program.

Outcomes are counted in the order of iterations, so what follows from them depends on no timing. A session counts for
itself: whoever resumes a run has mended something.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vevolve.evolve.propose import Draft

FAILURES = 4
"""Iterations in a row without any answer, each after all its retries, after which a proposer is given up.

An answer that makes no program is one all the same, and so is one whose repair failed.
"""
EMPTY_ANSWERS = 16
"""Answers in a row that make no new program of the parent, repairs included, after which a proposer is given up."""


@dataclass
class _Record:
    """A proposer: iterations since its last answer, and answers since its last program."""

    failures: int = 0
    empty: int = 0


@dataclass(frozen=True)
class GivenUp:
    """A proposer that is asked no more.

    Attributes:
        after: the iteration that was one too many.
        failed: it gave no answer at all.
        why: one line.
    """

    after: int
    failed: bool
    why: str


@dataclass
class Patience:
    """With the proposers that may be given up: those that cost something, be it time."""

    names: Iterable[str]
    given_up: dict[str, GivenUp] = field(default_factory=dict[str, GivenUp])
    _records: dict[str, _Record] = field(default_factory=dict[str, _Record])

    def __post_init__(self) -> None:
        self._records = {name: _Record() for name in self.names}

    def tell(self, iteration: int, author: str, draft: Draft) -> GivenUp | None:
        """Count the outcome of the next iteration. What comes back is new: this proposer is given up just now."""
        record = self._records.get(author)
        if record is None or author in self.given_up:
            return None
        if not draft.fault:
            self._records[author] = _Record()
            return None
        record.failures = record.failures + 1 if draft.failed else 0
        record.empty += draft.empty
        found = None
        if record.failures >= FAILURES:
            fault = draft.fault.removeprefix(f"{author}:").removeprefix(author).strip()
            found = GivenUp(iteration, True, f"{author} failed {FAILURES} times in a row, the last time so: {fault}")
        elif record.empty >= EMPTY_ANSWERS:
            found = GivenUp(iteration, False, f"{record.empty} answers of {author} in a row made no new program")
        if found is not None:
            self.given_up[author] = found
        return found

    def tired(self, through: int) -> frozenset[str]:
        """Who was given up by the time that iteration `through` was told."""
        return frozenset(name for name, one in self.given_up.items() if one.after <= through)
