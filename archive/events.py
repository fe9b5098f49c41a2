"""The events of a run. The log of them is the run; every table is a fold of it.

Only the driver appends. An event holds facts; ranks, fronts and totals are derived by query.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from vevolve.types import Containment, Objective, Point, Value, Verdict

CERTIFICATION = ("registered", "unsealed", "examined", "concluded")
"""The kinds of events of an attempt at a certificate, in their order. They belong to no session of a run."""


class Latency(Value):
    """How a run times what it promotes: what its points on the GPU are ranked by, and by what they were measured."""

    family: str
    """Of those points, on the `select` split."""
    objectives: tuple[Objective, ...]
    gpu: str
    """What the driver calls it. Times on another do not compare."""
    version: int
    protocol: str
    """The version and the hash of what measures."""


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
    latency: Latency | None = None
    """None: this run times nothing, since there was no GPU when it began, or the problem cannot be timed."""


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
    incumbent: str = ""
    """The elite, or the first promoted program, that it is compared with next, on documents that are drawn after this
    row. Empty: with none."""
    claims: tuple[str, ...] = ()
    """The labels of the operating points at which it is held to be better."""
    claimed: float = 0.0
    """What the incumbent's hypervolume on `select` gains where these points take the place of its own."""


class Measured(Value):
    """A promoted candidate was timed beside the seed. What the search does depends on no such event."""

    kind: Literal["measured"] = "measured"
    iteration: int
    """Of the candidate."""
    candidate: str
    incumbent: str
    points: tuple[Point, ...]
    """Those whose time counts; none where it is at fault or suspect."""
    feedback: str
    """The times, or why they do not count."""
    report: dict[str, Any] = Field(default_factory=dict)
    """The whole measurement: intervals, ratios, faults, conditions, protocol."""


class Compared(Value):
    """A promoted candidate met its incumbent on fresh documents: to become an elite, or as an elite that aged."""

    kind: Literal["compared"] = "compared"
    iteration: int
    """Of the candidate."""
    candidate: str
    incumbent: str
    claims: tuple[str, ...]
    claimed: float
    """As its selection told; a gain or a loss on a document is cut at this."""
    told: int
    """The last iteration that was told before."""
    aged: int = 0
    """Iterations after it became an elite when it was to meet its incumbent again; 0 where it is to become one."""
    gains: tuple[float, ...]
    """By new document, not cut: what the incumbent's hypervolume gains where the claimed points take the place of its
    own. A candidate that is invalid there loses all of it; an incumbent that is invalid gives no gain."""
    workloads: tuple[str, ...]
    """By new document: a hash of the problem and of it."""
    evidence: float
    """E-value against "the mean gain, each cut at the claim, is at most 0", over all documents that it met."""
    against: float = 0.0
    """E-value against "the mean gain, each cut at the claim, is at least 0", over those that it met as an elite."""
    level: float
    """It becomes an elite where `evidence` reaches one over this; it is one no more where `against` does."""
    lower: float
    """95 % lower confidence limit of the mean gain, each cut at the claim, as a share of the claim; valid at every
    number of documents."""
    elite: bool
    """What follows."""


Budget = Literal["", "evaluations", "usd", "seconds"]


class Ended(Value):
    """A run stopped: its budget was spent, its user stopped it, or a proposer failed for good."""

    kind: Literal["ended"] = "ended"
    reason: str
    budget: Budget = ""
    """The total that was reached, where it was one that ended the run."""


class Statement(Value):
    """What an attempt at a certificate tests.

    Attributes:
        epsilon: the relative error of an attention output that counts as a violation, where above.
        delta: the mean share of violations that no KV head of any layer examined may exceed.
        delta_token: the mean share of steps whose greedy token may differ from the dense model's.
        alpha: the chance of ever issuing a false certificate for this candidate, over all attempts in one log.
        attempt: which attempt at this candidate it is in this log, counted from 1.
        level: what this attempt spends of alpha, 6 alpha / (pi^2 attempt^2).
        method: `betting` or `clopper-pearson`.
        documents: how many are planned; betting may stop earlier.
    """

    epsilon: float
    delta: float
    delta_token: float
    alpha: float
    attempt: int
    level: float
    method: str
    documents: int


class Registered(Value):
    """An attempt at a certificate was declared, before any of its documents existed."""

    kind: Literal["registered"] = "registered"
    candidate: str
    purpose: Literal["certify", "audit"] = "certify"
    problem: str
    problem_hash: str
    statement: Statement
    point: dict[str, Any]
    """The operating point: its label, and tokens or epsilon and delta as the candidate is given them."""
    generator: dict[str, Any]
    """What documents are drawn from, with the model that records them and the heads that are examined."""
    versions: dict[str, str]
    containment: Containment


class Unsealed(Value):
    """The documents of an attempt came into being: its secret was drawn."""

    kind: Literal["unsealed"] = "unsealed"
    candidate: str
    reason: str
    nonce: str
    """128 bits in hex. The documents' key is HMAC-SHA256(nonce, hash of the row that registered the attempt)."""


class Examined(Value):
    """One fresh document of an attempt, with the outcome of every unit on it."""

    kind: Literal["examined"] = "examined"
    candidate: str
    document: int
    """Counted from 0."""
    key: str
    """The document's own key in hex, derived from the documents' key and its number."""
    hash: str
    """The sha256 of the model's name and the document's tokens."""
    source: str
    stratum: str
    """What kind of document was drawn."""
    over: dict[str, list[str]]
    """Layer -> for each KV head, one character a (step, query head): 1 where the error exceeded epsilon."""
    differs: str
    """One character a step: 1 where the greedy token differed from the dense model's."""


class Concluded(Value):
    """An attempt at a certificate ended."""

    kind: Literal["concluded"] = "concluded"
    candidate: str
    issued: bool
    documents: int
    reason: str
    """What was found, in a sentence."""
    figures: dict[str, Any] = Field(default_factory=dict)
    """Rates and limits, which follow from the rows before."""


Event = Annotated[
    Started
    | Resumed
    | Asked
    | Proposed
    | Told
    | Selected
    | Measured
    | Compared
    | Ended
    | Registered
    | Unsealed
    | Examined
    | Concluded,
    Field(discriminator="kind"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
