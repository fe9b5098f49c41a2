"""What `select` returned, checked: ids, inclusion probabilities, tail, budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from vevolve.types import CandidateFault, Frame

MAX_TAIL = 64
"""Pseudo-tokens of a tail, per KV head."""


@dataclass(frozen=True)
class Answer:
    """A valid selection at one step.

    Attributes:
        ids: int64 [H, 1, m], or [H, G, m] where each query head chose its own. Pads are 0.
        log_weights: float64, shaped as ids: -log of the inclusion probability; -inf at pads.
        chosen: bool [H, n], the tokens attended by any query head of the group.
        tail: log-weights float64 [H, G, r] and values float64 [H, r, d], or None.
    """

    ids: NDArray[np.int64]
    log_weights: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    tail: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    @property
    def attended(self) -> int:
        """Distinct tokens, summed over the KV heads."""
        return int(np.count_nonzero(self.chosen))

    @property
    def tail_elements(self) -> int:
        """Elements that the tail adds to the traffic."""
        return 0 if self.tail is None else sum(part.size for part in self.tail)


def check(frame: Frame, heads: int, group: int, dim: int, n: int, tokens: int | None) -> Answer:
    """Check an answer against the rules.

    Args:
        frame: what arrived: "0" ids, "1" probabilities, and with a tail "2.0" log-weights, "2.1" values.
        heads: KV heads, H.
        group: query heads per KV head, G.
        dim: head dimension, d.
        n: visible tokens.
        tokens: the budget per KV head on average, or None where it is open.

    Raises:
        CandidateFault: `wrong`, naming the rule, what was found and what is allowed.
    """
    if set(frame) not in ({"0", "1"}, {"0", "1", "2.0", "2.1"}):
        _refuse(f"select must return (ids, prob) or (ids, prob, (log_weights, values)); found entries {sorted(frame)}")
    ids, chosen, own = _ids(frame["0"], heads, group, n)
    allowed = heads * min(tokens, n) if tokens is not None else heads * n
    union: NDArray[np.bool_] = chosen[:, 0] if chosen.shape[1] == 1 else np.logical_or.reduce(chosen, axis=1)
    found = int(np.count_nonzero(union))
    if found > allowed:
        _refuse(
            f"attended {found} distinct tokens over {heads} KV heads; the budget of {tokens} a head allows {allowed} "
            "(the union over a group's query heads counts)"
        )
    weights = _log_weights(frame["1"], frame["0"].shape, own)
    tail = _tail(frame["2.0"], frame["2.1"], heads, group, dim) if "2.0" in frame else None
    attends = own.any(axis=2)
    if not attends.all() and (tail is None or not (np.isfinite(tail[0]).any(axis=2) | attends).all()):
        head = int(np.argwhere(~attends)[0, 0])
        _refuse(f"KV head {head} attends to nothing: choose at least one token or give it a tail")
    return Answer(ids, weights, union, tail)


def _ids(
    raw: NDArray[Any], heads: int, group: int, n: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Ids [H, 1 or G, m] with pads as 0, the tokens they mark [H, 1 or G, n], and which are no pads."""
    if raw.dtype.kind not in "iu":
        _refuse(f"ids must be integers, got {raw.dtype}")
    if raw.ndim not in (2, 3) or raw.shape[0] != heads or (raw.ndim == 3 and raw.shape[1] != group):
        _refuse(f"ids must have shape [{heads}, m] or [{heads}, {group}, m], got {list(raw.shape)}")
    if raw.shape[-1] > 4 * n:
        _refuse(f"{raw.shape[-1]} ids a head were returned; only {n} tokens are visible")
    if raw.size and (raw.min() < -1 or raw.max() >= n):
        found = int(raw.max()) if raw.max() >= n else int(raw.min())
        _refuse(f"id {found} was chosen; ids are in [0, {n}), or -1 for a pad")
    ids = raw.astype(np.int64).reshape(heads, 1 if raw.ndim == 2 else group, raw.shape[-1])
    own = ids >= 0
    rows = heads * ids.shape[1]
    flat = (ids + (np.arange(rows) * n).reshape(heads, -1, 1))[own]
    chosen = np.zeros(rows * n, dtype=bool)
    chosen[flat] = True
    if int(np.count_nonzero(chosen)) != flat.size:
        values, counts = np.unique(flat, return_counts=True)
        twice = int(values[counts > 1][0])
        _refuse(f"id {twice % n} was chosen more than once in KV head {twice // n // ids.shape[1]}; ids are distinct")
    np.maximum(ids, 0, out=ids)
    return ids, chosen.reshape(heads, ids.shape[1], n), own


def _log_weights(raw: NDArray[Any], shape: tuple[int, ...], own: NDArray[np.bool_]) -> NDArray[np.float64]:
    if raw.dtype.kind not in "fiu":
        _refuse(f"prob must be real numbers, got {raw.dtype}")
    if raw.shape != shape:
        _refuse(f"prob must have the shape of ids, {list(shape)}, got {list(raw.shape)}")
    prob = np.where(own, raw.astype(np.float64).reshape(own.shape), 1.0)
    fits = (prob > 0) & (prob <= 1)
    if not fits.all():
        _refuse(f"prob {prob[~fits][0]:.6g} of a chosen token is outside (0, 1]")
    return np.where(own, -np.log(prob), -np.inf)


def _tail(
    log_weights: NDArray[Any], values: NDArray[Any], heads: int, group: int, dim: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if log_weights.dtype.kind != "f" or values.dtype.kind != "f":
        _refuse(f"a tail holds floating-point arrays, got {log_weights.dtype} and {values.dtype}")
    size = log_weights.shape[-1] if log_weights.ndim == 3 else -1
    if log_weights.shape != (heads, group, size) or values.shape != (heads, size, dim):
        _refuse(
            f"a tail is log_weights [{heads}, {group}, r] and values [{heads}, r, {dim}], "
            f"got {list(log_weights.shape)} and {list(values.shape)}"
        )
    if size > MAX_TAIL:
        _refuse(f"the tail has {size} pseudo-tokens; at most {MAX_TAIL} are allowed")
    if np.isnan(log_weights).any() or np.isposinf(log_weights).any() or not np.isfinite(values).all():
        _refuse("the tail holds NaN or infinite entries (a log-weight of -inf is fine: it weighs nothing)")
    return log_weights.astype(np.float64), values.astype(np.float64)


def _refuse(feedback: str) -> NoReturn:
    raise CandidateFault("wrong", feedback)
