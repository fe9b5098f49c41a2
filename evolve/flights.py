"""What is in flight: iterations between ask and tell, and candidates between a gain and its confirmation."""

from __future__ import annotations

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
    """A candidate that gained on `search`, while it is examined on `select`."""

    iteration: int
    candidate: str
    verdict: Verdict | None = None
