"""What candidates are examined on: the traces of `sparse_decode`, whose prompts are quantised, and caps on the bits."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vevolve.evaluators.kv_quantization.codec import Prompt
from vevolve.evaluators.sparse_decode import synthetic
from vevolve.evaluators.sparse_decode.traces import Document, Layer
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.types import Seed, Settings

CAPS = (2.75, 3.75, 4.75, 6.75, 8.75)
"""Most mean bits per element of K and V, everything counted. Published settings of b = 2, 3, 4, 6 and 8 bits cost
b + .25 to b + .7 here, where contexts are short and d = 64, with their scales, norms and a few exact tokens."""
DECLARED = Seed(hashlib.sha256(b"kv_quantization: declared documents").digest()[:16])
"""The documents that are drawn are part of the problem, the same in every run, so their seed stands here."""


@dataclass(frozen=True)
class Operating:
    """One setting of a candidate's budget."""

    cap: float

    @property
    def label(self) -> str:
        """What reports call it."""
        return f"{self.cap:g} bits"

    @property
    def budget(self) -> Settings:
        """As the candidate sees it."""
        return Settings({"bits": self.cap})


@dataclass(frozen=True)
class Place:
    """One prompt of a workload: a case, by its place, and a layer."""

    case: int
    layer: int


def places(cases: Sequence[Case]) -> Iterator[Place]:
    """Every prompt of a workload, in reading order."""
    for case, one in enumerate(cases):
        for layer in one.document.layers:
            yield Place(case, layer)


def prompt(document: Document, layer: int) -> Prompt:
    """The keys and values of a document's prompt in one layer."""
    recorded = document.layers[layer]
    return Prompt(
        name=document.name,
        layer=layer,
        keys=np.ascontiguousarray(recorded.keys[:, : document.prompt]),
        values=np.ascontiguousarray(recorded.values[:, : document.prompt]),
        rope_base=document.rope_base,
    )


@functools.lru_cache(maxsize=1)
def tiny_cases() -> tuple[Case, ...]:
    """One small document of random keys with a sink and a large channel: it shows crashes and interface errors."""
    heads, group, dim, tokens, steps = 2, 2, 64, 251, 2
    draw = np.random.default_rng(DECLARED.derive("tiny").integer)
    keys = draw.standard_normal((heads, tokens, dim), dtype=np.float32)
    keys[:, 0] *= 2
    keys[..., 5] = 6 + keys[..., 5]
    values = draw.standard_normal((heads, tokens, dim), dtype=np.float32)
    queries = draw.standard_normal((heads, group, 16, dim), dtype=np.float32) + keys[:, None, :1] / 4
    layer = Layer(queries=queries.astype(np.float32), keys=keys, values=values)
    return (Case(Document("tiny", "random", "random", "search", "synthetic:tiny", steps, {0: layer}, 1e4)),)


@functools.lru_cache(maxsize=1)
def wide_prompt() -> Prompt:
    """A prompt of 2,048 tokens at d = 128, which is only encoded: it shows what a code costs at the usual width."""
    (document,) = synthetic.family(
        "llama3", DECLARED.derive("wide"), documents=1, heads=1, tokens=2_052, steps=4, split="search"
    )
    return prompt(document, 0)
