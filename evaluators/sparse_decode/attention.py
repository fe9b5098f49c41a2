"""Dense attention, attention over what was chosen, and the error between them, all in float64."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.sparse_decode.answer import Answer
from vevolve.evaluators.sparse_decode.traces import Document

LARGEST_ERROR = 1e6
"""Errors are cut here, so that every figure stays finite."""


@dataclass(frozen=True)
class Reference:
    """Dense attention of one layer at every decode step.

    Attributes:
        logits: q k / sqrt(d), float64 [S, H, G, N]; -inf at tokens that the step does not see.
        outputs: float64 [S, H, G, d].
        mass: log of the sum of exp(logits), float64 [S, H, G].
        values: float32 [H, N, d], contiguous.
    """

    logits: NDArray[np.float64]
    outputs: NDArray[np.float64]
    mass: NDArray[np.float64]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Deviation:
    """What one answer gives, for each query head [H, G].

    Attributes:
        error: ‖out - dense‖ / ‖dense‖.
        covered: share of the true softmax mass that the chosen tokens hold.
        mass: estimated over true softmax denominator.
    """

    error: NDArray[np.float64]
    covered: NDArray[np.float64]
    mass: NDArray[np.float64]


@dataclass(frozen=True)
class _Key:
    hash: str
    layer: int
    document: Document = field(compare=False, repr=False)


def reference(document: Document, layer: int) -> Reference:
    """Dense attention of one layer of a document, computed once per process."""
    return _reference(_Key(document.hash, layer, document))


@functools.lru_cache(maxsize=64)
def _reference(key: _Key) -> Reference:
    layer, steps = key.document.layers[key.layer], key.document.steps
    tokens, dim = layer.keys.shape[1:]
    queries = layer.queries[:, :, -steps:].astype(np.float64)
    keys, values = layer.keys.astype(np.float64), layer.values.astype(np.float64)
    logits = np.einsum("hgsd,hnd->shgn", queries, keys, optimize=True) / np.sqrt(dim)
    position = tokens - steps + np.arange(steps)
    logits[np.broadcast_to(np.arange(tokens) > position[:, None, None, None], logits.shape)] = -np.inf
    peak = logits.max(axis=-1, keepdims=True)
    weights = np.exp(logits - peak)
    total = weights.sum(axis=-1, keepdims=True)
    outputs = np.einsum("shgn,hnd->shgd", weights / total, values, optimize=True)
    return Reference(logits, outputs, (peak + np.log(total))[..., 0], np.ascontiguousarray(layer.values))


def deviation(answer: Answer, dense: Reference, step: int) -> Deviation:
    """Attend to what was chosen, out = sum(w / p v) / sum(w / p) with the tail among the tokens, and compare.

    A token weighs exp(q k / sqrt(d)) / prob, a pseudo-token exp(log_weight): one scale for both.
    """
    logits = np.take_along_axis(dense.logits[step], answer.ids, axis=2)
    covered = np.exp(np.where(answer.log_weights > -np.inf, logits - dense.mass[step][..., None], -np.inf)).sum(axis=-1)
    out, mass = attended(answer, logits, dense.values)
    exact = dense.outputs[step]
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.linalg.norm(out - exact, axis=-1) / np.maximum(np.linalg.norm(exact, axis=-1), 1e-30)
        mass = np.exp(mass - dense.mass[step])
    return Deviation(_cut(error), covered, _cut(mass))


def attended(
    answer: Answer, logits: NDArray[np.float64], values: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outputs [H, G, d] over what was chosen, and the log [H, G] of their denominators.

    Args:
        answer: ids, weights and tail.
        logits: q k / sqrt(d) of the chosen tokens, [H, G, m].
        values: of all tokens, [H, N, d].
    """
    scores = logits + answer.log_weights
    peak = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    if answer.tail is not None:
        peak = np.maximum(peak, answer.tail[0].max(axis=-1, keepdims=True, initial=-np.inf))
    weights = np.exp(scores - peak)
    total = weights.sum(axis=-1)
    out = _weighted(weights, answer.ids, values)
    # A tail may hold the largest floats there are; what overflows is as wrong as an error gets.
    with np.errstate(over="ignore", invalid="ignore"):
        if answer.tail is not None:
            weights = np.exp(answer.tail[0] - peak)
            total += weights.sum(axis=-1)
            out += weights @ answer.tail[1]
        out /= total[..., None]
        return out, peak[..., 0] + np.log(total)


def _weighted(weights: NDArray[np.float64], ids: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of weights [H, G, m] times the values of ids [H, 1 or G, m]: [H, G, d]."""
    heads, tokens, dim = values.shape
    rows = ids + np.arange(heads)[:, None, None] * tokens
    chosen = values.reshape(-1, dim).take(rows, axis=0).astype(np.float64)
    out: NDArray[np.float64]
    out = weights @ chosen[:, 0] if ids.shape[1] == 1 else (weights[:, :, None] @ chosen)[:, :, 0]
    return out


def _cut(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(np.nan_to_num(figures, nan=LARGEST_ERROR, posinf=LARGEST_ERROR), LARGEST_ERROR)
