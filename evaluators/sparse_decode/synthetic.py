"""Synthetic attention with the statistics of larger models: two families, d = 128, labelled synthetic throughout.

What is imitated, and where it is from. The figures for Llama-3 and Qwen3 were not measured here: they follow the
papers named, from memory. In brackets stand the range that the tests hold the generator to, and in braces what the
shipped traces of SmolLM2-135M show for the same statistic, per layer and KV head.

- The first token is a sink that takes about half of all attention (Xiao et al., 2023, arXiv 2309.17453; Gu et al.,
  2024, arXiv 2410.10781) [mean mass .4 to .75] {.02 to .66}; its value is next to nothing [below .1 of the median
  norm] {.09 to .39}. Keys lie in a cone that queries point away from [squared length of the mean unit key .4 to .8]
  {.27 to .76}; the sink's key lies outside it, and without norms it is short [.3 to .6 of the median] {.16 to .64}.
- A few key channels are several times larger than the rest at every token (KIVI, arXiv 2402.02750; KVQuant, arXiv
  2401.18079) [largest to median channel 5 to 16] {2.5 to 14.3}, while values have none [below 2] {1.1 to 7.0}.
- About one query head in twenty retrieves (Wu et al., 2024, arXiv 2404.15574): its decode steps read a needle in order,
  among look-alikes [needle mass above .4]. About six in ten stream [sink and last 128 tokens above .85]. The others are
  mixed and diffuse [entropy above that of streaming heads by half a nat].
- Successive queries resemble each other [mean cosine .75 to .95] {.70 to .89}; tokens repeat by Zipf's law and topics
  come in runs, so that keys cluster.
- "llama3": four query heads a KV head, RoPE base 5e5; key norms vary [by .08 to .2] {.08 to .17}. "qwen3": queries and
  keys pass an RMS norm with a gain per channel before RoPE (base 1e6), which makes key norms nearly equal [below .08];
  four and eight query heads, by turns.

How it is fitted: a key is the sum of the cone's axis (in the slowest channels, so that it outlives RoPE), a constant in
the middle channels (whose rotation makes near tokens score higher), content (in slow channels) and noise. A query is
the same with its own weights by role; then, for each query head, the weight on the cone's axis is solved by bisection
for a sink mass drawn for the role.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vevolve.errors import BadInput, UnknownName
from vevolve.evaluators.sparse_decode.stress import STRESS, stress
from vevolve.evaluators.sparse_decode.traces import Document, Layer
from vevolve.types import Seed, Split

Numbers: TypeAlias = NDArray[Any]
WIDTH = 128
STREAMING, MIXED, RETRIEVAL = 0, 1, 2
ROLES = ("streaming", "mixed", "retrieval")
_MIDDLE = slice(8, 32)
"""Rotary pairs with wavelengths of some tens to some thousands of tokens: they tell near from far."""
_SLOW = slice(36, 64)
"""Rotary pairs that hardly turn within a few thousand tokens: they carry content."""
_TOPICS, _RUN, _WORDS = 12, 48, 256
_LOOKALIKES = 6


@dataclass(frozen=True)
class Family:
    """What distinguishes one family.

    Attributes:
        base: of the rotary embedding.
        groups: query heads a KV head, by turns over documents.
        normed: queries and keys pass an RMS norm with a gain.
        axis: length of the cone's axis before any norm.
        sink: length of the sink's key before any norm; the other keys are about 15 long.
    """

    base: float
    groups: tuple[int, ...]
    normed: bool
    axis: float
    sink: float


_FAMILIES = {
    "llama3": Family(base=5e5, groups=(4,), normed=False, axis=11.0, sink=6.0),
    "qwen3": Family(base=1e6, groups=(4, 8), normed=True, axis=9.0, sink=12.0),
}
FAMILIES = tuple(_FAMILIES)
_QUERY_GAIN, _KEY_GAIN = 1.6, 1.2
# By role: weights on recency and content, and the range that the sink's mass is drawn from.
_RECENCY = np.array([20.0, 8.0, 3.0])
_CONTENT = np.array([3.0, 12.0, 36.0])
_SINK = np.array([[0.5, 0.9], [0.25, 0.6], [0.05, 0.25]])


def family(
    name: str,
    seed: Seed,
    documents: int = 2,
    *,
    heads: int = 4,
    tokens: int = 2_048,
    layers: int = 1,
    steps: int = 8,
    queries: int = 32,
    split: Split = "select",
) -> list[Document]:
    """Documents of a synthetic family. The same seed gives the same documents.

    Args:
        name: one of `FAMILIES`.
        seed: all randomness comes from it.
        documents: how many.
        heads: H.
        tokens: N.
        layers: layers a document; each is drawn on its own.
        steps: S.
        queries: T.
        split: the split that the documents are for.

    Raises:
        UnknownName: no such family.
        BadInput: sizes that do not fit each other.
    """
    if name not in _FAMILIES:
        raise UnknownName("synthetic family", name, FAMILIES)
    least = queries + 4 * steps + 64
    if not 1 <= steps <= queries or tokens < least:
        raise BadInput(
            f"Expected 1 <= steps <= queries and at least {least} tokens; found {steps} steps, {queries} queries and "
            f"{tokens} tokens."
        )
    return [
        _document(name, seed.derive(name, i), i, heads, tokens, layers, steps, queries, split) for i in range(documents)
    ]


def _document(
    name: str, seed: Seed, index: int, heads: int, tokens: int, layers: int, steps: int, queries: int, split: Split
) -> Document:
    rng = np.random.default_rng(seed.derive("text").integer)
    which = _FAMILIES[name]
    group = which.groups[index % len(which.groups)]
    text = _text(rng, tokens, steps, queries)
    roles = [
        _roles(np.random.default_rng(seed.derive("roles", layer).integer), heads, group) for layer in range(layers)
    ]
    return Document(
        name=f"{name}-{index + 1}",
        model=f"synthetic:{name}",
        text="synthetic",
        split=split,
        kind=f"synthetic:{name}",
        steps=steps,
        layers={
            layer: _layer(
                np.random.default_rng(seed.derive("layer", layer).integer), which, text, roles[layer], queries
            )
            for layer in range(layers)
        },
        rope_base=which.base,
        needle=(text.needle, text.needle + steps),
        notes={
            "roles": json.dumps([[[ROLES[role] for role in row] for row in layer.tolist()] for layer in roles]),
            "lookalikes": json.dumps(text.lookalikes.tolist()),
        },
    )


# ------------------------------------------------------------------------------------------------------ the pieces


@dataclass(frozen=True)
class _Text:
    """What all layers of a document share: topics and words of the tokens, and where the needle stands."""

    topics: Numbers
    words: Numbers
    needle: int
    lookalikes: Numbers
    steps: int


def _text(rng: np.random.Generator, tokens: int, steps: int, queries: int) -> _Text:
    starts = rng.random(tokens) < 1 / _RUN
    starts[0] = True
    topics = rng.integers(0, _TOPICS, tokens)[np.maximum.accumulate(np.where(starts, np.arange(tokens), 0))]
    share = 1 / np.arange(1, _WORDS + 1)
    words = rng.choice(_WORDS, tokens, p=share / share.sum())
    last = tokens - queries - steps
    needle = int(rng.integers(tokens // 20 + 1, max(tokens // 20 + 2, last - tokens // 20)))
    places = rng.integers(1, last, 4 * _LOOKALIKES)
    apart = places[(places < needle - steps) | (places >= needle + 2 * steps)]
    return _Text(topics, words, needle, apart[:_LOOKALIKES], steps)


def _roles(rng: np.random.Generator, heads: int, group: int) -> Numbers:
    """The role of each query head [H, G]: one in twenty retrieves (at least one), six in ten stream."""
    count = heads * group
    retrieving, streaming = max(1, round(0.05 * count)), round(0.6 * count)
    roles = np.full(count, MIXED)
    roles[:retrieving] = RETRIEVAL
    roles[retrieving : retrieving + streaming] = STREAMING
    return np.asarray(rng.permutation(roles).reshape(heads, group))


def _layer(rng: np.random.Generator, which: Family, text: _Text, roles: Numbers, queries: int) -> Layer:
    heads, group = roles.shape
    tokens = len(text.topics)
    axis = _axis(rng, heads)
    near = _unit(_band(rng, (heads,), _MIDDLE))
    content, target = _content(rng, text, roles, queries)

    keys = which.axis * axis[:, None] + 5.0 * near[:, None] + 7.0 * content
    keys += 0.6 * rng.standard_normal(keys.shape, np.float32)
    keys *= np.exp(0.12 * rng.standard_normal((heads, tokens, 1), np.float32))
    keys[:, 0] = -which.sink * axis + 0.2 * rng.standard_normal((heads, WIDTH), np.float32)
    gain = np.ones((heads, WIDTH), np.float32)
    if which.normed:
        keys /= np.sqrt(np.mean(keys**2, -1, keepdims=True))
        gain += 1.0 * (np.abs(axis) > 0.2)
        keys *= _KEY_GAIN * gain[:, None]

    query = _RECENCY[roles][..., None, None] * near[:, None, None] + _CONTENT[roles][..., None, None] * target
    query = query + _walk(rng, (heads, group, queries, WIDTH), 0.4)
    at = np.arange(tokens)
    keys = _rotate(keys, at, which.base)
    pull = np.broadcast_to(-axis[:, None, None], query.shape)
    wanted = rng.uniform(_SINK[roles][..., 0], _SINK[roles][..., 1])
    weight = _fit(query, pull, keys, gain, wanted, which, text.steps)
    query = _query(query + weight[..., None, None] * pull, gain, which)
    tensors = (_rotate(query, at[-queries:], which.base), keys, _values(rng, text, heads))
    return Layer(*(np.ascontiguousarray(tensor, np.float32) for tensor in tensors))


def _axis(rng: np.random.Generator, heads: int) -> Numbers:
    """The cone's axis, unit vectors [H, d]: three large channels and a little of all slow ones."""
    axis = 0.12 * _band(rng, (heads,), _SLOW)
    for head in range(heads):
        pairs = rng.choice(np.arange(_SLOW.start + 8, _SLOW.stop), 3, replace=False)
        channels = pairs + 64 * rng.integers(0, 2, 3)
        axis[head, channels] = rng.choice([-1.0, 1.0], 3) * rng.uniform(0.8, 1.2, 3)
    return _unit(axis)


def _content(rng: np.random.Generator, text: _Text, roles: Numbers, queries: int) -> tuple[Numbers, Numbers]:
    """Unit content of the tokens [H, N, d], and what each query looks for [H, G, T, d].

    Needle tokens share most of their content; step t looks for needle token t. Look-alikes share the common part.
    Other queries, and all of the prompt's, look for the topic of their own place and drift slowly.
    """
    heads, group = roles.shape
    tokens, steps = len(text.topics), text.steps
    topic = _unit(_band(rng, (heads, _TOPICS), _SLOW))
    word = _unit(_band(rng, (heads, _WORDS), _SLOW))
    own = _unit(_band(rng, (heads, tokens), _SLOW))
    content = _unit(0.6 * topic[:, text.topics] + 0.6 * word[:, text.words] + 0.5 * own)
    shared = _unit(_band(rng, (heads, 1), _SLOW))
    place = slice(text.needle, text.needle + steps)
    content[:, place] = _unit(0.8 * shared + 0.6 * own[:, place])
    content[:, text.lookalikes] = _unit(0.75 * shared + 0.66 * own[:, text.lookalikes])

    drift = _walk(rng, (heads, group, queries, WIDTH), 0.95)
    drift[..., ~_mask(_SLOW)] = 0
    target = _unit(topic[:, None, text.topics[-queries:]] + 0.8 * _unit(drift))
    looks = np.broadcast_to(content[:, None, place], (heads, group, steps, WIDTH))
    target[:, :, -steps:][roles == RETRIEVAL] = looks[roles == RETRIEVAL]
    return content, target


def _values(rng: np.random.Generator, text: _Text, heads: int) -> Numbers:
    """[H, N, d]: topic, word and noise, norms that vary by a third, and next to nothing for the sink."""
    tokens = len(text.topics)
    topic = _unit(rng.standard_normal((heads, _TOPICS, WIDTH), np.float32))
    word = _unit(rng.standard_normal((heads, _WORDS, WIDTH), np.float32))
    own = _unit(rng.standard_normal((heads, tokens, WIDTH), np.float32))
    values = _unit(0.5 * topic[:, text.topics] + 0.6 * word[:, text.words] + 0.6 * own)
    values *= 2.0 * np.exp(0.3 * rng.standard_normal((heads, tokens, 1), np.float32))
    values[:, 0] *= 0.02
    return values


def _query(raw: Numbers, gain: Numbers, which: Family) -> Numbers:
    if not which.normed:
        return raw
    return np.asarray(_QUERY_GAIN * raw * gain[:, None, None] / np.sqrt(np.mean(raw**2, -1, keepdims=True)))


def _fit(
    raw: Numbers, pull: Numbers, keys: Numbers, gain: Numbers, wanted: Numbers, which: Family, steps: int
) -> Numbers:
    """The weight on `pull`, [H, G], at which the mean mass on the first token over the decode steps is `wanted`.

    Logits are linear in the weight but for the norm, which has a closed form, so that a step of the bisection
    costs one softmax.
    """
    tokens = keys.shape[1]
    at = np.arange(tokens - steps, tokens)
    raw, pull = raw[:, :, -steps:], pull[:, :, -steps:]
    spread = gain[:, None, None] if which.normed else np.float32(1)
    base, slope = (
        np.matmul(_rotate(part * spread, at, which.base), keys[:, None].swapaxes(-1, -2)) / np.sqrt(WIDTH)
        for part in (raw, pull)
    )
    future = np.arange(tokens) > at[:, None]
    low, high = np.full(wanted.shape, -40.0), np.full(wanted.shape, 160.0)
    for _ in range(14):
        weight = ((low + high) / 2)[..., None, None].astype(np.float32)
        logits = base + weight * slope
        if which.normed:
            logits *= _QUERY_GAIN / np.sqrt(np.mean((raw + weight * pull) ** 2, -1, keepdims=True))
        logits -= logits[..., :1]
        logits[..., future] = -np.inf
        mass = (1 / np.exp(np.minimum(logits, 80), out=logits).sum(-1)).mean(-1)
        low, high = np.where(mass < wanted, (low + high) / 2, low), np.where(mass < wanted, high, (low + high) / 2)
    return np.asarray((low + high) / 2, np.float32)


def _rotate(x: Numbers, positions: Numbers, base: float) -> Numbers:
    """The rotary embedding in the layout of Llama and Qwen: channel i turns with channel i + d / 2."""
    half = WIDTH // 2
    angle = positions[:, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def _mask(band: slice) -> Numbers:
    pairs = np.zeros(WIDTH // 2, bool)
    pairs[band] = True
    return np.concatenate([pairs, pairs])


def _band(rng: np.random.Generator, shape: tuple[int, ...], band: slice) -> Numbers:
    """Gaussian vectors [*shape, d] in a band of rotary pairs."""
    return rng.standard_normal((*shape, WIDTH), np.float32) * _mask(band)


def _walk(rng: np.random.Generator, shape: tuple[int, ...], keep: float) -> Numbers:
    """A stationary first-order autoregression along the second-last axis, unit variance."""
    walk = rng.standard_normal(shape, np.float32)
    for step in range(1, shape[-2]):
        walk[..., step, :] = keep * walk[..., step - 1, :] + np.sqrt(1 - keep**2) * walk[..., step, :]
    return walk


def _unit(x: Numbers) -> Numbers:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


__all__ = ["FAMILIES", "STRESS", "Family", "family", "stress"]
