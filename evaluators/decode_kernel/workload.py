"""The cases: a decode step over chosen tokens, with probabilities and padding, and its answer in float64.

Shapes are declared, and differ between the splits; what lies in the tensors is drawn from the seed of the examination.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.decode_kernel.memory import sectors
from vevolve.types import Seed, Split

WIDTH = 64
LEAST_ROWS = 16
"""Rows that a tensor core multiplies at the least."""
SHAPES: Mapping[Split, tuple[tuple[int, int, int, int, int], ...]] = {
    "search": ((1, 2, 4, 300, 64), (2, 2, 1, 97, 33), (1, 1, 5, 130, 48)),
    "select": ((1, 2, 5, 211, 56), (2, 1, 3, 280, 64), (1, 2, 2, 71, 37)),
}
"""B, H, G, n, m: sequences, KV heads, query heads of each, tokens, ids of each KV head (-1 pads)."""


@dataclass(frozen=True, eq=False)
class Case:
    """One decode step.

    Attributes:
        query: float16 [B, H, G, d].
        keys: float16 [B, H, n, d].
        values: float16 [B, H, n, d].
        ids: int32 [B, H, m], distinct, -1 pads anywhere; at least one is left in each row.
        log_prob: float32 [B, H, m], the natural logarithm of each one's inclusion probability.
    """

    query: NDArray[np.float16]
    keys: NDArray[np.float16]
    values: NDArray[np.float16]
    ids: NDArray[np.int32]
    log_prob: NDArray[np.float32]

    @property
    def inputs(self) -> dict[str, NDArray[np.generic]]:
        """By the names that a kernel asks for."""
        return {
            "query": self.query,
            "keys": self.keys,
            "values": self.values,
            "ids": self.ids,
            "log_prob": self.log_prob,
        }

    @property
    def sizes(self) -> dict[str, int]:
        """By the names that a kernel asks for."""
        batch, heads, group, width = self.query.shape
        rows = max(LEAST_ROWS, 1 << (group - 1).bit_length())
        n, m = self.keys.shape[2], self.ids.shape[2]
        return {"B": batch, "H": heads, "G": group, "ROWS": rows, "n": n, "m": m, "D": width}

    @property
    def scale(self) -> float:
        """Of the scores."""
        return 1 / math.sqrt(self.query.shape[3])

    @property
    def label(self) -> str:
        """What reports call it."""
        return " ".join(f"{name}={self.sizes[name]}" for name in ("B", "H", "G", "n", "m"))

    @property
    def floor(self) -> int:
        """Bytes that every kernel must move: what the answer depends on, and the answer, each 32-byte sector once."""
        batch, heads, n, width = self.keys.shape
        meant = self.ids >= 0
        row = np.arange(batch * heads).reshape(batch, heads, 1) * n + self.ids
        places = row[meant][:, None] * width + np.arange(width)
        moved = 2 * sectors(places, self.keys.itemsize)
        moved += sectors(np.flatnonzero(meant), self.log_prob.itemsize)
        whole = (self.ids, self.query, self.query)  # the last one in the place of the answer
        return moved + sum(sectors(np.arange(array.size), array.itemsize) for array in whole)


def reference(case: Case) -> NDArray[np.float64]:
    """sum_i exp(s_i - log p_i) v_i / sum_i exp(s_i - log p_i) over the ids of each KV head, [B, H, G, d]."""
    batch, heads, group, width = case.query.shape
    found = np.empty((batch, heads, group, width))
    for b in range(batch):
        for h in range(heads):
            meant = case.ids[b, h] >= 0
            ids = case.ids[b, h][meant]
            keys, values = (array[b, h, ids].astype(np.float64) for array in (case.keys, case.values))
            scores = case.query[b, h].astype(np.float64) @ keys.T * case.scale
            scores -= case.log_prob[b, h][meant].astype(np.float64)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            found[b, h] = weights @ values / weights.sum(axis=1, keepdims=True)
    return found


def cases(split: Split, seed: Seed) -> tuple[Case, ...]:
    """The cases of a split."""
    return tuple(draw(shape, seed.derive("case", number)) for number, shape in enumerate(SHAPES[split]))


def draw(shape: tuple[int, int, int, int, int], seed: Seed, width: int = WIDTH) -> Case:
    """A case of a shape B, H, G, n, m."""
    batch, heads, group, n, _ = shape
    random = np.random.default_rng(seed.integer)
    place = (batch, heads, n, width)
    keys, values = (random.standard_normal(place, dtype=np.float32).astype(np.float16) for _ in "kv")
    return _asked(keys, values, group, shape[4], random)


def again(case: Case, seed: Seed) -> Case:
    """Another query, other ids and other probabilities over the same keys and values."""
    random = np.random.default_rng(seed.integer)
    return _asked(case.keys, case.values, case.query.shape[2], case.ids.shape[2], random)


def _asked(
    keys: NDArray[np.float16], values: NDArray[np.float16], group: int, m: int, random: np.random.Generator
) -> Case:
    batch, heads, n, width = keys.shape
    query = random.standard_normal((batch, heads, group, width)).astype(np.float16)
    ids = np.stack([[random.permutation(n)[:m] for _ in range(heads)] for _ in range(batch)]).astype(np.int32)
    # One id in ten pads, so that a kernel meets padding in the middle as well as at the end.
    padded = random.random(ids.shape) < 0.1
    padded[..., 0] = False
    # Half of the tokens were chosen for sure, the others sampled with a probability of their own.
    chosen = random.random(ids.shape) < 0.5
    log_prob = np.where(chosen, 0.0, np.log(random.uniform(0.05, 1.0, ids.shape))).astype(np.float32)
    return Case(query, keys, values, np.where(padded, np.int32(-1), ids).astype(np.int32), log_prob)
