"""Quantisation inside a model: every layer's context is encoded and decoded before the question is read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vevolve.errors import UnknownName
from vevolve.evaluators.inside.context import Context, Floats
from vevolve.evaluators.inside.continuation import softmax_attention
from vevolve.evaluators.inside.deviation import Deviation
from vevolve.evaluators.kv_quantization.codec import Decoded, Prompt, compress
from vevolve.evaluators.kv_quantization.workload import CAPS, Operating
from vevolve.evaluators.sparse_decode.recorder import rope_base
from vevolve.types import Seed, Subject


class QuantizedInside:
    """One context at one cap; the tokens after it stay exact."""

    def __init__(self, subject: Subject, context: Context, label: str, seed: Seed) -> None:
        known = {Operating(cap).label: cap for cap in CAPS}
        if label not in known:
            raise UnknownName("operating point", label, known)
        base = rope_base(context.model.network)
        prompts = [
            Prompt(f"context {context.hash[:8]}", layer, held.keys, held.values, base)
            for layer, held in context.layers.items()
        ]
        found = compress(subject, prompts, known[label], seed)
        self._context = context
        self._deviation = Deviation(context)
        self._decoded: dict[int, Decoded] = dict(zip(context.layers, found, strict=True))

    @property
    def start(self) -> int:
        """The context's length."""
        return len(self._context.ids)

    def attend(self, layer: int, queries: Floats, keys: Floats, values: Floats) -> NDArray[np.float32]:
        """Attention over the decoded context and the tokens so far; [H, G, S, d]."""
        ours = self._decoded[layer]
        old = np.asarray(ours.keys, dtype=np.float32), np.asarray(ours.values, dtype=np.float32)
        out = softmax_attention(queries, *old, keys, values)
        self._deviation.note(layer, out, queries, keys, values)
        return out

    def abandon(self) -> None:
        """Nothing is open any more."""

    def finish(self) -> dict[str, float]:
        """`bits` and `error`, as the objectives have them."""
        return {
            "bits": float(np.mean([one.bits for one in self._decoded.values()])),
            "error": self._deviation.error,
        }
