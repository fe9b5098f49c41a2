"""What candidates are examined on: documents, their layers, and the operating points."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vevolve.errors import BadInput
from vevolve.evaluators.sparse_decode import synthetic, traces
from vevolve.evaluators.sparse_decode.traces import Document, Layer
from vevolve.types import Candidate, Seed, Settings, Split

BUDGETS = (32, 64, 128, 256, 512)
"""Tokens attended per KV head on average."""
BOUNDS = ((0.05, 0.05), (0.1, 0.1), (0.25, 0.25))
"""(epsilon, delta) that candidates declared `VERIFIED = True` are asked for as well."""
BOUND_STRIDE = 4
"""Every fourth decode step is asked at these, which attend to many tokens and so cost most of an examination."""
FAMILIES = ("llama3", "qwen3")
"""Synthetic families on which a promoted candidate must gain too."""
LONG_STEPS = (15, 31, 47, 63, 68, 69, 70, 71)
"""Steps that are asked of a shipped document of more: half before its first 64 generated tokens are folded, when the
index lags by 16 to 64 tokens, and half after, when it holds them. As many as a short document has, so that documents
weigh and cost the same."""
FAMILY_STEPS = 4
"""Decode steps that are asked of each synthetic document, of which there are two a family."""
FAMILY_FOLDED = 64
"""Further steps that the second document of a family takes first: the steps that are asked then follow an `append`."""
DECLARED = Seed(hashlib.sha256(b"sparse_decode: synthetic documents of the select stage").digest()[:16])
"""Synthetic documents are part of the problem, the same in every run, so their seed stands here."""


@dataclass(frozen=True)
class Operating:
    """One setting of a candidate's budget: tokens, or epsilon and delta."""

    label: str
    tokens: int | None = None
    epsilon: float | None = None
    delta: float | None = None

    @property
    def budget(self) -> Settings:
        """As the candidate sees it."""
        return Settings({"tokens": self.tokens, "epsilon": self.epsilon, "delta": self.delta})


@dataclass(frozen=True)
class Case:
    """A document, the family of workloads it belongs to, and which of its steps are asked.

    Every decode step takes place, so that `append` sees all generated tokens; only those asked call `select`.

    Attributes:
        document: the text.
        family: "" for the workload that fronts are drawn from.
        asked: decode steps that are asked, ascending; all where it is empty.
    """

    document: Document
    family: str = ""
    asked: tuple[int, ...] = ()

    @property
    def steps(self) -> Sequence[int]:
        """The decode steps that are asked."""
        return self.asked or range(self.document.steps)

    @property
    def needle(self) -> bool:
        """Whether its decode steps answer from a known place."""
        return self.document.kind == "needle"


@dataclass(frozen=True)
class Question:
    """One decode step: a document (by its place in the workload), a layer, an operating point and a step."""

    case: int
    layer: int
    point: Operating
    step: int


def operating_points(candidate: Candidate, budgets: Sequence[int] = BUDGETS) -> tuple[Operating, ...]:
    """The token budgets, then the (epsilon, delta) points where the candidate declares `VERIFIED = True`."""
    points = [Operating(f"{tokens} tokens", tokens=tokens) for tokens in budgets]
    if candidate.constants.get("VERIFIED") is True:
        points += [verified(epsilon, delta) for epsilon, delta in BOUNDS]
    return tuple(points)


def verified(epsilon: float, delta: float) -> Operating:
    """The setting at which a method that verifies itself is asked for an error bound."""
    return Operating(f"eps={_short(epsilon)} delta={_short(delta)}", epsilon=epsilon, delta=delta)


def questions(cases: Sequence[Case], points: Sequence[Operating]) -> Iterator[Question]:
    """Every question of a workload, in reading order."""
    for place, case in enumerate(cases):
        for layer in case.document.layers:
            for point in points:
                for step in case.steps[:: 1 if point.epsilon is None else BOUND_STRIDE]:
                    yield Question(place, layer, point, step)


@functools.lru_cache(maxsize=8)
def shipped_cases(split: Split) -> tuple[Case, ...]:
    """The recorded traces that ship for a split, read once per process."""
    found = [traces.read(path) for path in traces.shipped(split)]
    return tuple(Case(one, asked=LONG_STEPS if one.steps > len(LONG_STEPS) else ()) for one in found)


@functools.lru_cache(maxsize=2)
def family_cases() -> tuple[Case, ...]:
    """The documents of both synthetic families, drawn once per process from the declared seed.

    The second one of each has decoded before: what it looks up stands far back, and `append` has been called.
    """
    cases: list[Case] = []
    for family in FAMILIES:
        queries = FAMILY_STEPS + FAMILY_FOLDED + 28
        drawn = synthetic.family(family, DECLARED.derive(family), documents=2, steps=FAMILY_STEPS, queries=queries)
        steps = FAMILY_STEPS + FAMILY_FOLDED
        cases += [
            Case(drawn[0], family),
            Case(replace(drawn[1], steps=steps), family, tuple(range(FAMILY_FOLDED, steps))),
        ]
    return tuple(cases)


def file_cases(files: Sequence[Path]) -> tuple[Case, ...]:
    """A user's own traces. Raises `BadTrace` for a file that is none, `BadInput` where there are no files."""
    if not files:
        raise BadInput("Expected at least one trace file; `vevolve traces record` makes them.")
    return tuple(Case(traces.read(Path(path))) for path in files)


@functools.lru_cache(maxsize=1)
def tiny_cases() -> tuple[Case, ...]:
    """One small document of random keys with a sink: it shows crashes and interface errors in no time.

    Its second question comes after an `append`.
    """
    heads, group, dim, tokens, steps = 2, 2, 16, 160, 66
    draw = np.random.default_rng(DECLARED.derive("tiny").integer)
    keys = draw.standard_normal((heads, tokens, dim), dtype=np.float32)
    keys[:, 0] *= 2
    values = draw.standard_normal((heads, tokens, dim), dtype=np.float32)
    queries = draw.standard_normal((heads, group, 80, dim), dtype=np.float32) + keys[:, None, :1] / 2
    layer = Layer(queries=queries.astype(np.float32), keys=keys, values=values)
    document = Document("tiny", "random", "random", "search", "synthetic:tiny", steps, {0: layer})
    return (Case(document, asked=(0, steps - 1)),)


def _short(value: float) -> str:
    return f"{value:g}".removeprefix("0")
