"""The events of a run. The log of them is the run; every table is a fold of it.

Only the driver appends. An event holds facts; ranks, fronts and totals are derived by query.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from vevolve.types import Containment, Objective, Value, Verdict


class Started(Value):
    """A run began. Written once, first."""

    kind: Literal["started"] = "started"
    run: str
    version: str
    problem: str
    """The name or path by which the problem is loaded again."""
    problem_hash: str
    objectives: tuple[Objective, ...]
    seed: str
    """The name or file of the seed program."""
    seed_commitment: str
    """The sha256 of the run's secret seed, which itself stands in a file that only the owner reads."""
    config: dict[str, Any]
    containment: Containment


class Resumed(Value):
    """A run went on after it had stopped."""

    kind: Literal["resumed"] = "resumed"
    version: str
    config: dict[str, Any]
    containment: Containment


class Asked(Value):
    """Parents were chosen for an iteration and a question was put together."""

    kind: Literal["asked"] = "asked"
    iteration: int
    operation: str
    parents: tuple[str, ...]
    donors: tuple[str, ...] = ()
    proposer: str


class Proposed(Value):
    """A proposer answered, or failed to."""

    kind: Literal["proposed"] = "proposed"
    iteration: int
    attempt: int
    proposer: str
    model: str = ""
    system: str
    user: str
    reply: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    error: str = ""
    """Why there is no usable reply; empty where there is one."""


class Told(Value):
    """An iteration ended: a program and its verdict joined the archive. This is the only way in.

    A reply that held no program is kept as the program's text, with status `unapplied`, so that nothing is lost.
    """

    kind: Literal["told"] = "told"
    iteration: int
    source: str
    params: str | None = None
    """Base64 of the parameters, if any."""
    parents: tuple[str, ...] = ()
    operation: str
    proposer: str
    idea: str = ""
    """One line on what changed, from the proposer where it gave one."""
    verdict: Verdict
    """On the `search` split."""
    hypervolume_gain: float = 0.0
    """What its points added to the hypervolume of the search front when it was told."""


class Selected(Value):
    """A candidate that gained on `search` was examined on `select`."""

    kind: Literal["selected"] = "selected"
    iteration: int
    candidate: str
    verdict: Verdict
    promoted: bool
    """It gained on the select front of the main workload and of every family."""


Budget = Literal["", "evaluations", "usd", "seconds"]


class Ended(Value):
    """A run stopped: its budget was spent, its user stopped it, or a proposer failed for good."""

    kind: Literal["ended"] = "ended"
    reason: str
    budget: Budget = ""
    """The total that was reached, where it was one that ended the run."""


Event = Annotated[Started | Resumed | Asked | Proposed | Told | Selected | Ended, Field(discriminator="kind")]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
