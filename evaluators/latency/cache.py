"""A sparse cache of the size at which a GPU is timed, and queries that no program has seen before.

Several sequences of one of the problem's synthetic families lie side by side as the KV heads of each layer. A query is
a mix of two decode steps of the family, drawn anew for each call: it has the sinks, roles and needles of both. Steps
are many, so that the logits of queries that were asked before do not add up to those of the next.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.sparse_decode import synthetic
from vevolve.types import Seed

LAG = 16
"""Newest tokens that no index covers, as half way between two calls of `append`."""
RECENT = 28
"""Queries of the prompt that `build` gets."""
BLOCK = 8
"""KV heads of which dense attention is computed at once."""


@dataclass(frozen=True)
class Sizes:
    """How large the cache is.

    Attributes:
        layers: that a call walks through, each with keys, values and an index of its own.
        sequences: decoded together.
        heads: KV heads of a sequence.
        tokens: of a sequence.
        steps: decode steps of which queries are mixed.
        family: of the synthetic workload.
    """

    layers: int = 4
    sequences: int = 2
    heads: int = 8
    tokens: int = 32_768
    steps: int = LAG
    family: str = "llama3"

    @property
    def rows(self) -> int:
        """KV heads of a layer, over all sequences."""
        return self.sequences * self.heads

    def __str__(self) -> str:
        return (
            f"one layer's select + attend for {self.sequences} sequences of {self.heads} KV heads and {self.tokens:,} "
            f"tokens (synthetic {self.family}, d = {synthetic.WIDTH}), {self.layers} layers a call"
        )


@dataclass(frozen=True, eq=False)
class Question:
    """What one call asks.

    Attributes:
        number: of the call.
        queries: float32 [L, H, G, d].
        seeds: of the randomness of each layer.
    """

    number: int
    queries: NDArray[np.float32]
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """Keys and values float16 [H, n, d], and queries float32 [H, G, T, d] of which the last ones are decode steps."""

    keys: NDArray[np.float16]
    values: NDArray[np.float16]
    queries: NDArray[np.float32]


class Cache:
    """The cache, and the questions about it.

    Args:
        sizes: of it.
        key: all randomness comes from it.
        place: where dense attention is computed, "cuda" or "cpu".
    """

    def __init__(self, sizes: Sizes, key: Seed, place: str) -> None:
        self.sizes, self._key, self._place = sizes, key, place
        blocks = [(layer, part) for layer in range(sizes.layers) for part in range(sizes.sequences)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            drawn = list(pool.map(lambda block: _drawn(sizes, key.derive("block", *block)), blocks))
        self.layers = tuple(
            Layer(
                *(
                    np.concatenate([getattr(one, name) for one in drawn[start : start + sizes.sequences]])
                    for name in ("keys", "values", "queries")
                )
            )
            for start in range(0, len(drawn), sizes.sequences)
        )
        self._exact: dict[int, NDArray[np.float64]] = {}

    @property
    def prompt(self) -> int:
        """Tokens that an index covers."""
        return self.sizes.tokens - LAG

    @property
    def group(self) -> int:
        """Query heads of a KV head."""
        return int(self.layers[0].queries.shape[1])

    def question(self, number: int) -> Question:
        """The question of a call; that of another number is another."""
        rng = np.random.default_rng(self._key.derive("question", number).integer)
        rows, steps = self.sizes.rows, self.sizes.steps
        queries: list[NDArray[np.float32]] = []
        for layer in self.layers:
            one, two = (rng.integers(0, steps, rows) - steps for _ in range(2))
            share = rng.uniform(0.1, 0.9, (rows, 1, 1)).astype(np.float32)
            at = np.arange(rows)
            mixed = share * layer.queries[at, :, one] + (1 - share) * layer.queries[at, :, two]
            queries.append(mixed.astype(np.float32))
        seeds = tuple(int(rng.integers(1 << 62)) for _ in self.layers)
        return Question(number, np.ascontiguousarray(queries, np.float32), seeds)

    def answer(self, questions: Sequence[Question]) -> None:
        """Compute dense attention for these questions."""
        found = [
            _dense(layer, [one.queries[at] for one in questions], self._place) for at, layer in enumerate(self.layers)
        ]
        for at, one in enumerate(questions):
            self._exact[one.number] = np.stack([layer[at] for layer in found])

    def exact(self, question: Question) -> NDArray[np.float64]:
        """Dense attention of a question, float64 [L, H, G, d]."""
        if question.number not in self._exact:
            self.answer([question])
        return self._exact[question.number]

    def forget(self) -> None:
        """Drop the dense answers."""
        self._exact.clear()


def _drawn(sizes: Sizes, seed: Seed) -> Layer:
    (document,) = synthetic.family(
        sizes.family,
        seed,
        documents=1,
        heads=sizes.heads,
        tokens=sizes.tokens,
        steps=sizes.steps,
        queries=LAG + RECENT,
    )
    found = document.layers[0]
    return Layer(found.keys.astype(np.float16), found.values.astype(np.float16), found.queries)


def _dense(layer: Layer, queries: Sequence[NDArray[np.float32]], place: str) -> NDArray[np.float64]:
    """softmax(q k / sqrt(d)) v over all tokens in float64: [questions, H, G, d]."""
    import torch

    asked = np.stack(queries, axis=1)  # [H, questions, G, d]
    rows, count, group, dim = asked.shape
    parts: list[Any] = []
    for start in range(0, rows, BLOCK):
        block = slice(start, start + BLOCK)
        query, keys, values = (
            torch.from_numpy(one[block]).to(place).double() for one in (asked, layer.keys, layer.values)
        )
        flat = query.reshape(len(query), count * group, dim)
        out = (flat @ keys.mT / dim**0.5).softmax(dim=-1) @ values
        parts.append(out.reshape(len(query), count, group, dim).cpu().numpy())
    found: NDArray[np.float64] = np.ascontiguousarray(np.concatenate(parts).swapaxes(0, 1))
    return found
