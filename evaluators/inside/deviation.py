"""How far a candidate's outputs inside a model lie from dense attention over the same new tokens, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.inside.context import Context, Floats
from vevolve.evaluators.inside.continuation import softmax_attention
from vevolve.evaluators.sparse_decode.scores import PERCENTILE


class Deviation:
    """The errors of one context: relative L2 norms, of which each head's 95th percentile counts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._heads: list[NDArray[np.float64]] = []

    def note(self, layer: int, out: NDArray[np.floating[Any]], queries: Floats, keys: Floats, values: Floats) -> None:
        """Hold a layer's outputs [H, G, S, d] against the dense ones of what `attend` was asked."""
        held = self._context.layers[layer]
        dense = softmax_attention(queries, held.keys, held.values, keys, values)
        errors = np.linalg.norm(out - dense, axis=-1) / np.maximum(np.linalg.norm(dense, axis=-1), 1e-30)
        self._heads.append(np.percentile(errors, PERCENTILE, axis=(1, 2)))

    @property
    def error(self) -> float:
        """The mean over layers and heads; 0 before any layer was asked."""
        return float(np.mean(self._heads)) if self._heads else 0.0
