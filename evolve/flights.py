"""What is in flight: iterations between ask and tell, and candidates on their way to promotion and beyond."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vevolve.archive.events import Proposed
from vevolve.evolve.propose import Draft, Question
from vevolve.types import Verdict


@dataclass
class Flight:
    """An iteration between ask and tell. The seed's has no question."""

    iteration: int
    question: Question | None = None
    paid: dict[int, Proposed] = field(default_factory=dict[int, Proposed])
    estimate: float | None = 0.0
    draft: Draft | None = None
    verdict: Verdict | None = None


@dataclass
class Selection:
    """A candidate that gained on `search`, while it is examined on `select`.

    Attributes:
        due: its outcome stands before this iteration is told.
    """

    iteration: int
    candidate: str
    due: int
    begun: bool = False
    verdict: Verdict | None = None

    @property
    def done(self) -> bool:
        """Whether it may be told."""
        return self.verdict is not None


@dataclass
class Comparison:
    """A promoted candidate and its incumbent, while both are examined on fresh documents.

    Attributes:
        iteration: of the candidate.
        claims: the labels of the operating points at which the candidate is held to be better.
        claimed: what they gained on `select`.
        before: how many documents the two met in earlier comparisons.
        aged: iterations since the candidate became an elite; 0 where it is to become one.
        enough: the e-value that makes it an elite, however the comparisons before it end.
        gains: of the candidate, by document.
        workloads: name the documents.
    """

    iteration: int
    candidate: str
    incumbent: str
    claims: tuple[str, ...]
    claimed: float
    due: int
    before: int = 0
    aged: int = 0
    enough: float = math.inf
    begun: bool = False
    done: bool = False
    gains: tuple[float, ...] = ()
    workloads: tuple[str, ...] = ()
