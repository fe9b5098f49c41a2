"""Stress workloads: Gaussian attention with one property driven to an extreme, so that a failure names its cause.

Without a text, a model or RoPE; queries drift slowly. Each workload is a function of its base, in place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vevolve.errors import UnknownName
from vevolve.evaluators.sparse_decode.traces import Document, Floats, Layer
from vevolve.types import Seed, Split

_Tensors = tuple[Floats, Floats, Floats]
SINKS, NEEDLES, OUTLIERS = 4, 8, 4
"""How many tokens, tokens and channels the workloads of that name make special."""


def stress(
    name: str,
    seed: Seed,
    *,
    heads: int = 2,
    group: int = 4,
    width: int = 64,
    tokens: int = 1_024,
    steps: int = 8,
    queries: int = 32,
    split: Split = "search",
) -> Document:
    """One stress document with one layer. The same name and seed give the same document.

    Args:
        name: one of `STRESS`.
        seed: all randomness comes from it.
        heads: H.
        group: G.
        width: d.
        tokens: N, at least 64.
        steps: S.
        queries: T.
        split: the split that the document is for.

    Raises:
        UnknownName: no such workload.
    """
    if name not in _WORKLOADS:
        raise UnknownName("stress workload", name, STRESS)
    rng = np.random.default_rng(seed.derive("stress", name).integer)
    query = rng.standard_normal((heads, group, queries, width), np.float32)
    for step in range(1, queries):
        query[:, :, step] = 0.8 * query[:, :, step - 1] + 0.6 * query[:, :, step]
    keys = rng.standard_normal((heads, tokens, width), np.float32)
    values = rng.standard_normal((heads, tokens, width), np.float32)
    query, keys, values = _WORKLOADS[name](rng, query, keys, values)
    layer = Layer(*(np.ascontiguousarray(tensor, np.float32) for tensor in (query, keys, values)))
    return Document(name, "synthetic:stress", "synthetic", split, f"synthetic:{name}", steps, {0: layer})


def _peaked(rng: np.random.Generator, query: Floats, keys: Floats, values: Floats) -> _Tensors:
    """Logits with a standard deviation of 6: a handful of tokens holds nearly all mass."""
    return 6 * query, keys, values


def _flat(rng: np.random.Generator, query: Floats, keys: Floats, values: Floats) -> _Tensors:
    """Logits with a standard deviation of .3: no few tokens stand for the rest. Values have a mean to estimate."""
    return 0.3 * query, keys, values + 0.5


def _sinks(rng: np.random.Generator, query: Floats, keys: Floats, values: Floats) -> _Tensors:
    """The first four tokens hold about nine tenths of the mass, with values of nearly no length."""
    tokens, width = keys.shape[1:]
    axis = rng.standard_normal((keys.shape[0], width), np.float32)
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    # Without its part along the axis, a query's logits have a log-sum of about log N + 1/2.
    query -= (query * axis[:, None, None]).sum(-1, keepdims=True) * axis[:, None, None]
    query += 8 * axis[:, None, None]
    keys -= (keys * axis[:, None]).sum(-1, keepdims=True) * axis[:, None]
    logit = np.log(9 * tokens / SINKS) + 0.5
    keys[:, :SINKS] = axis[:, None] * logit * np.sqrt(width) / 8
    values[:, :SINKS] *= 0.02
    return query, keys, values


def _outliers(rng: np.random.Generator, query: Floats, keys: Floats, values: Floats) -> _Tensors:
    """Four key channels are twenty times as large, around a mean, and queries are small there in turn."""
    channels = rng.permutation(keys.shape[-1])[:OUTLIERS]
    keys[..., channels] = 20 * (1 + 0.2 * keys[..., channels])
    query[..., channels] *= 0.1
    return 2 * query, keys, values


def _needles(rng: np.random.Generator, query: Floats, keys: Floats, values: Floats) -> _Tensors:
    """Eight tokens a KV head, scattered, score far above the rest; step t is after needle t."""
    heads, _, queries, width = query.shape
    tokens = keys.shape[1]
    for head in range(heads):
        places = rng.choice(np.arange(1, tokens - queries), NEEDLES, replace=False)
        directions = keys[head, places] / np.linalg.norm(keys[head, places], axis=-1, keepdims=True)
        keys[head, places] = directions * np.sqrt(width)
        query[head] += 14 * directions[np.arange(-queries, 0) % NEEDLES]
    return query, keys, values


def _disagreement(rng: np.random.Generator, query: Floats, keys: Floats, values: Floats) -> _Tensors:
    """Keys stand in clusters, and each query head of a group is after another one: shared sets serve nobody."""
    heads, group, _, width = query.shape
    tokens = keys.shape[1]
    centres = rng.standard_normal((heads, group, width), np.float32)
    centres /= np.linalg.norm(centres, axis=-1, keepdims=True)
    member = rng.integers(0, 8 * group, (heads, tokens))  # most tokens belong to no head's cluster
    for head in range(heads):
        inside = member[head] < group
        keys[head, inside] = 0.5 * keys[head, inside] + 6 * centres[head, member[head, inside]]
    return query + 8 * centres[:, :, None], keys, values


def _offset(rng: np.random.Generator, query: Floats, keys: Floats, values: Floats) -> _Tensors:
    """Keys share a mean ten times as long as what tells them apart; softmax does not see it, hashes do."""
    mean = rng.standard_normal((keys.shape[0], 1, keys.shape[-1]), np.float32)
    return 2 * query, keys + 10 * mean, values


def _heavy_values(rng: np.random.Generator, query: Floats, keys: Floats, values: Floats) -> _Tensors:
    """Value norms follow a Pareto law with index 1.5: a token of little mass can rule the output."""
    size = 1 + rng.pareto(1.5, (*values.shape[:2], 1))
    return 1.5 * query, keys, values * np.minimum(size, 200)


_WORKLOADS: dict[str, Callable[[np.random.Generator, Floats, Floats, Floats], _Tensors]] = {
    "peaked": _peaked,
    "flat": _flat,
    "sinks": _sinks,
    "outliers": _outliers,
    "needles": _needles,
    "disagreement": _disagreement,
    "offset": _offset,
    "heavy-values": _heavy_values,
}
STRESS = tuple(_WORKLOADS)
