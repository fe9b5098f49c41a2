"""The protocol of a proposer, and the values that cross it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from vevolve.types import Candidate, Seed, Value

Operation = Literal["seed", "mutate", "crossover", "repair"]
"""How a program came to be: shipped, changed from one parent, combined from two, mended after it failed."""


def unlimited() -> bool:
    """A budget that always allows another call."""
    return True


class Prompt(Value):
    """What a model is asked."""

    system: str
    user: str


@dataclass(frozen=True)
class Request:
    """One question to a proposer.

    Attributes:
        iteration: the iteration that it serves; with `attempt` it names the request for good.
        attempt: 0, or 1 for the repair of a reply that did not apply.
        operation: what is asked for.
        prompt: the question as text.
        parents: the programs to start from; edits apply to the first.
        donors: other programs whose functions may be borrowed.
        seed: the randomness of this request.
        run: a short name of the run that asks, the same when it resumes.
        afford: sets aside what one more call may cost, for one that may have been billed without an answer; False
            where the budget does not allow it.
    """

    iteration: int
    attempt: int
    operation: Operation
    prompt: Prompt
    parents: tuple[Candidate, ...]
    donors: tuple[Candidate, ...]
    seed: Seed
    run: str = ""
    afford: Callable[[], bool] = unlimited


class Reply(Value):
    """What came back, and what it cost.

    Attributes:
        text: the answer: prose, SEARCH/REPLACE blocks, or a fenced program.
        model: the model that answered, as the provider names it.
        input_tokens: as reported by the provider, 0 where nothing is counted.
        output_tokens: likewise.
        usd: the cost, or None where no price is known.
    """

    text: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0


class Proposer(Protocol):
    """Turns a request into a reply. Called from several threads at once; it blocks until the answer is there.

    Raises from `propose`:
        ProposerError: for good (wrong key, unknown model): the run ends.
        ProposalFailed: this once (retries used up, garbage): the iteration becomes a row, the run goes on.
    """

    name: str
    """As the user wrote it, such as `anthropic:NAME`."""

    def propose(self, request: Request) -> Reply:
        """Answer one request."""
        ...

    def estimate(self, prompt: Prompt) -> float | None:
        """Dollars that one such call is likely to cost at most; 0.0 where it is free, None where no price is known."""
        ...

    def close(self) -> None:
        """End what is open. No call follows."""
        ...


class ProposalFailed(Exception):
    """One request got no usable answer; the next may.

    Attributes:
        billed: what was or may have been paid for and cannot be used, such as an answer that was cut off, or calls
            that nobody answered in time; None where nothing was.
    """

    def __init__(self, message: str, billed: Reply | None = None) -> None:
        super().__init__(message)
        self.billed = billed
