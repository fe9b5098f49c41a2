"""A cache after eviction: only the rows that were kept exist, and attention is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.sparse_decode.traces import Floats, Layer

Ids: TypeAlias = tuple[NDArray[np.int64], ...]
"""The kept tokens of each KV head of a layer, in ascending order."""


@dataclass(frozen=True, eq=False)
class Cache:
    """The kept keys and values of one layer, head after head without gaps, as a paged or ragged kernel reads them.

    Attributes:
        keys: float16 [rows, d].
        values: float16 [rows, d].
        starts: int32 [H + 1], where each head's rows begin; None where all heads keep equally many, which needs none.
        counts: rows of each head.
        context: n, the tokens that there were.
        rope_base: set where positions were renumbered: keys stand at their slots, later tokens behind them.

    Kept keys carry their rotation, so that no position need be stored beside them.
    """

    keys: NDArray[np.float16]
    values: NDArray[np.float16]
    starts: NDArray[np.int32] | None
    counts: tuple[int, ...]
    context: int
    rope_base: float | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of everything that must be stored."""
        return self.keys.nbytes + self.values.nbytes + (0 if self.starts is None else self.starts.nbytes)

    @property
    def dense_nbytes(self) -> int:
        """Bytes of the cache of all tokens."""
        return 2 * len(self.counts) * self.context * int(self.keys.shape[1]) * 2

    def head(self, head: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Keys and values [m, d] of one KV head."""
        start = sum(self.counts[:head]) if self.starts is None else int(self.starts[head])
        rows = slice(start, start + self.counts[head])
        return self.keys[rows], self.values[rows]


def gather(keys: Floats, values: Floats, ids: Ids, rope_base: float | None = None) -> Cache:
    """Keep these rows of keys and values [H, n, d], and nothing else.

    Args:
        keys: after RoPE.
        values: the rows beside them.
        ids: of each head, ascending.
        rope_base: re-anchor: rotate every kept key from its position to its slot, as if the prompt had held the kept
            tokens alone (StreamingLLM, Xiao et al. 2023, arXiv:2309.17453).
    """
    chosen = [keys[head, rows] for head, rows in enumerate(ids)]
    if rope_base is not None:
        chosen = [rotate(one, np.arange(len(rows)) - rows, rope_base) for one, rows in zip(chosen, ids, strict=True)]
    counts = tuple(len(rows) for rows in ids)
    starts = None if len(set(counts)) == 1 else np.cumsum([0, *counts], dtype=np.int32)
    return Cache(
        keys=np.concatenate(chosen).astype(np.float16),
        values=np.concatenate([values[head, rows] for head, rows in enumerate(ids)]).astype(np.float16),
        starts=starts,
        counts=counts,
        context=keys.shape[1],
        rope_base=rope_base,
    )


def attend(cache: Cache, layer: Layer, steps: int) -> NDArray[np.float64]:
    """Attention of the last `steps` queries over kept and later tokens, float64 [S, H, G, d].

    Query t of the layer sees what was kept and the later tokens 0 to t, with softmax(q k / sqrt(d)).
    """
    heads, group, _, width = layer.queries.shape
    out = np.empty((steps, heads, group, width))
    unseen = np.arange(steps) > np.arange(steps)[:, None]
    for head in range(heads):
        kept, values = cache.head(head)
        queries = layer.queries[head, :, -steps:].astype(np.float64)
        later = layer.keys[head, -steps:].astype(np.float64)
        if cache.rope_base is not None:
            moved = np.full(steps, len(kept) - cache.context)
            queries, later = rotate(queries, moved, cache.rope_base), rotate(later, moved, cache.rope_base)
        rows = np.concatenate([kept, later]).astype(np.float64)
        logits = queries @ rows.T / np.sqrt(width)
        logits[:, :, len(kept) :][:, unseen] = -np.inf
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        beside = np.concatenate([values, layer.values[head, -steps:]]).astype(np.float64)
        out[:, head] = (weights @ beside).transpose(1, 0, 2)
    return out


def rotate(vectors: NDArray[np.floating], by: Sequence[int] | NDArray[np.int64], base: float) -> NDArray[np.float64]:
    """Turn rotary vectors [..., n, d] by so many positions each; channel i is paired with i + d / 2, as in Llama."""
    half = vectors.shape[-1] // 2
    angle = np.asarray(by, np.float64)[:, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angle), np.sin(angle)
    low, high = vectors[..., :half].astype(np.float64), vectors[..., half:].astype(np.float64)
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)
