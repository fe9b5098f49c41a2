"""A candidate as the archive holds it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vevolve.types import Candidate, Point, Status, Verdict


@dataclass(frozen=True)
class Record:
    """A candidate with what is known of it, frozen at the time of reading.

    Attributes:
        id: the sha256 that names it.
        seq: the number of the log's row that told it; told order.
        iteration: the iteration that made it.
        time: when it was told, seconds since 1970.
        source: the program's text.
        params: the bytes of its parameters, or None.
        tree_hash: the hash of its syntax tree; None where it does not parse.
        parents: the ids it was made from; edits were applied to the first.
        operation: how it came to be.
        proposer: who wrote it.
        idea: one line on what changed.
        status: what became of it.
        valid: whether its points count.
        promoted: it gained on the `select` split as well.
        reference: it declares `REFERENCE = True`: a line on plots, never on a front, never a parent.
        hypervolume_gain: what its points added to the search front when it was told.
        first_error_line: of its feedback, where it is not valid.
        points: its operating points on `search`, then on `select`.
    """

    id: str
    seq: int
    iteration: int
    time: float
    source: str = field(repr=False)
    params: bytes | None = field(repr=False)
    tree_hash: str | None = field(repr=False)
    parents: tuple[str, ...]
    operation: str
    proposer: str
    idea: str
    status: Status
    valid: bool
    promoted: bool
    reference: bool
    hypervolume_gain: float
    first_error_line: str
    points: tuple[Point, ...] = field(repr=False)
    load_verdict: Callable[[str, str], str | None] = field(repr=False, compare=False)
    """(id, split) -> the whole verdict as JSON. Verdicts are large, so each is read when it is first asked for."""

    @functools.cached_property
    def verdict(self) -> Verdict:
        """On the `search` split. Raises `ArchiveError` where the archive was closed before."""
        return Verdict.model_validate(json.loads(self.load_verdict(self.id, "search") or "null"))

    @functools.cached_property
    def selected(self) -> Verdict | None:
        """On the `select` split, where it was examined there."""
        text = self.load_verdict(self.id, "select")
        return None if text is None else Verdict.model_validate(json.loads(text))

    @functools.cached_property
    def candidate(self) -> Candidate:
        """The program and its parameters."""
        return Candidate(self.source, self.params)

    def points_on(self, split: str, family: str = "") -> tuple[Point, ...]:
        """The operating points of one split and family."""
        return tuple(point for point in self.points if point.split == split and point.family == family)

    def to_json(self, rank: int | None = None) -> dict[str, Any]:
        """As a list of candidates prints it, with the Pareto rank that `Archive.ranks` gives (None: it has none)."""
        return {
            "id": self.id,
            "iteration": self.iteration,
            "operation": self.operation,
            "parents": list(self.parents),
            "proposer": self.proposer,
            "idea": self.idea,
            "status": self.status,
            "valid": self.valid,
            "promoted": self.promoted,
            "rank": rank,
            "hypervolume_gain": self.hypervolume_gain,
            "first_error_line": self.first_error_line,
            "points": [point.model_dump() for point in self.points],
        }
