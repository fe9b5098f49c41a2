"""Attention over decoded keys and values against dense attention, in float64, and what each of the two costs."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.sparse_decode.attention import LARGEST_ERROR, reference
from vevolve.evaluators.sparse_decode.traces import Document

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Deviation:
    """What decoded keys and values of a prompt give at every decode step.

    Attributes:
        error: ‖out - dense‖ / ‖dense‖, [S, H, G].
        error_keys: the same with exact values.
        error_values: the same with exact keys.
        key_mse: ‖K' - K‖² / ‖K‖² by KV head, [H].
        value_mse: ‖V' - V‖² / ‖V‖² by KV head, [H].
        bias: mean of (q·k' - q·k) / (‖q‖ ‖k‖) over the prompt's tokens, [S, H, G].
        gain: slope of q·k' over q·k, less 1, [H]: below 0 where a quantiser shrinks inner products.
    """

    error: Floats
    error_keys: Floats
    error_values: Floats
    key_mse: Floats
    value_mse: Floats
    bias: Floats
    gain: Floats


@dataclass(frozen=True)
class _Exact:
    """What stays the same for every candidate: dense attention of one layer, queries of all steps in rows [H, S G, *].

    Attributes:
        queries: [H, S G, d] over the square root of d.
        logits: [H, S G, N], -inf at tokens that a step does not see.
        weights: softmax of the logits.
        outputs: [H, S G, d].
        keys: of the prompt, [H, n, d].
        values: of all tokens, [H, N, d].
    """

    queries: Floats
    logits: Floats
    weights: Floats
    outputs: Floats
    keys: Floats
    values: Floats


@dataclass(frozen=True)
class _Key:
    hash: str
    layer: int
    document: Document = field(compare=False, repr=False)


@functools.lru_cache(maxsize=64)
def _exact(key: _Key) -> _Exact:
    recorded, dense = key.document.layers[key.layer], reference(key.document, key.layer)
    queries = recorded.queries[:, :, -key.document.steps :].transpose(0, 2, 1, 3).astype(np.float64)
    heads, _, _, width = queries.shape
    logits = _rows(dense.logits)
    return _Exact(
        queries=queries.reshape(heads, -1, width) / np.sqrt(width),
        logits=logits,
        weights=_weights(logits),
        outputs=_rows(dense.outputs),
        keys=recorded.keys[:, : key.document.prompt].astype(np.float64),
        values=recorded.values.astype(np.float64),
    )


def deviation(document: Document, layer: int, keys: NDArray[Any], values: NDArray[Any]) -> Deviation:
    """Attend to the decoded prompt [H, n, d] and to the exact generated tokens, and compare.

    Decoded numbers may be as large as floats are; what overflows is as wrong as an error gets.
    """
    exact, prompt = _exact(_Key(document.hash, layer, document)), document.prompt
    shape = (len(keys), document.steps, -1)
    keys, values = keys.astype(np.float64), values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        logits = exact.logits.copy()
        logits[..., :prompt] = exact.queries @ keys.swapaxes(1, 2)
        moved = exact.values.copy()
        moved[:, :prompt] = values
        weights = _weights(logits)
        outputs = weights @ moved, weights @ exact.values, exact.weights @ moved
        size = np.maximum(np.linalg.norm(exact.outputs, axis=-1), 1e-30)
        errors = [np.linalg.norm(out - exact.outputs, axis=-1) / size for out in outputs]
        true = exact.logits[..., :prompt]
        off = logits[..., :prompt] - true
        lengths = np.linalg.norm(exact.keys, axis=-1)
        bias = (off @ (1 / np.maximum(lengths, 1e-30))[..., None])[..., 0] / prompt
        bias /= np.maximum(np.linalg.norm(exact.queries, axis=-1), 1e-30)
        gain = np.einsum("hrn,hrn->h", off, true) / np.maximum(np.einsum("hrn,hrn->h", true, true), 1e-30)
        error, error_keys, error_values = (_cut(one).reshape(shape).swapaxes(0, 1) for one in errors)
        return Deviation(
            error,
            error_keys,
            error_values,
            _cut(_relative(keys, exact.keys)),
            _cut(_relative(values, exact.values[:, :prompt])),
            _signed(bias).reshape(shape).swapaxes(0, 1),
            _signed(gain),
        )


def _rows(array: Floats) -> Floats:
    """[S, H, G, *] as [H, S G, *], contiguous."""
    steps, heads, group, size = array.shape
    return np.ascontiguousarray(array.swapaxes(0, 1).reshape(heads, steps * group, size))


def _weights(logits: Floats) -> Floats:
    weights: Floats = logits - logits.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def _relative(found: Floats, exact: Floats) -> Floats:
    """Squared error over squared length, [H]."""
    off = found - exact
    return np.asarray(np.einsum("hnd,hnd->h", off, off) / np.maximum(np.einsum("hnd,hnd->h", exact, exact), 1e-30))


def _cut(figures: Floats) -> Floats:
    return np.minimum(np.nan_to_num(figures, nan=LARGEST_ERROR, posinf=LARGEST_ERROR), LARGEST_ERROR)


def _signed(figures: Floats) -> Floats:
    return np.clip(np.nan_to_num(figures, nan=LARGEST_ERROR), -LARGEST_ERROR, LARGEST_ERROR)
