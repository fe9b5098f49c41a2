"""What candidates are examined on: contexts, their layers, and the budgets."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vevolve.errors import BadInput, BadTrace
from vevolve.evaluators.kv_eviction import contexts
from vevolve.evaluators.kv_eviction.contexts import Context
from vevolve.evaluators.kv_eviction.evict import Budget
from vevolve.evaluators.sparse_decode.traces import Document, Layer
from vevolve.types import Seed, Split

SHARES = tuple(Fraction(1, part) for part in (32, 16, 8, 4, 2))
"""Of the context's tokens, kept per KV head and layer on average."""
_TINY = Seed(hashlib.sha256(b"kv_eviction: the tiny context").digest()[:16])


@dataclass(frozen=True)
class Question:
    """One eviction: a context (by its place in the workload) and a share of it to keep."""

    case: int
    share: Fraction


def questions(cases: Sequence[Context], shares: Sequence[Fraction] = SHARES) -> list[Question]:
    """Every eviction of a workload, in reading order."""
    return [Question(place, share) for place in range(len(cases)) for share in shares]


@functools.lru_cache(maxsize=8)
def shipped_cases(split: Split) -> tuple[Context, ...]:
    """The contexts that ship for a split, read once per process."""
    return tuple(contexts.read(path) for path in contexts.shipped(split))


def file_cases(files: Sequence[Path]) -> tuple[Context, ...]:
    """A user's own contexts.

    Raises:
        BadTrace: a file is no context, or its layers differ in their heads.
        BadInput: there are no files, or the smallest budget keeps less than one token of one.
    """
    if not files:
        raise BadInput("Expected at least one context file: `vevolve traces record --queries N` makes them.")
    cases = tuple(contexts.read(Path(path)) for path in files)
    for path, case in zip(files, cases, strict=True):
        if len(shapes := {layer.keys.shape for layer in case.document.layers.values()}) > 1:
            raise BadTrace(f"{path}: expected layers of one shape, since they share a budget; found {sorted(shapes)}.")
        Budget.of(min(SHARES), case.document.prompt)
    return cases


@functools.lru_cache(maxsize=1)
def tiny_cases() -> tuple[Context, ...]:
    """One small context of random keys with a sink: it shows crashes and interface errors in no time."""
    heads, group, dim, n, steps, model = 2, 2, 16, 64, 4, 8
    draw = np.random.default_rng(_TINY.integer)
    layers: dict[int, Layer] = {}
    extra = {}
    for index in (0, 1):
        keys, values = (_halves(draw, heads, n + steps, dim) for _ in range(2))
        keys[:, 0] *= 2
        queries = _halves(draw, heads, group, n + steps, dim)
        layers[index] = Layer(queries, keys, values, wo=_halves(draw, heads, group, dim, model))
        extra[f"r.{index}"] = _halves(draw, heads, group, n, dim)
        extra[f"m.{index}"] = np.full((heads, group, n), np.log(n), np.float32)
    document = Document("tiny", "random", "random", "search", "synthetic:tiny", steps, layers, rope_base=1e4)
    return (contexts.context(document, extra),)


def _halves(draw: np.random.Generator, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Random numbers that float16 holds exactly."""
    return draw.standard_normal(shape).astype(np.float16).astype(np.float32)
