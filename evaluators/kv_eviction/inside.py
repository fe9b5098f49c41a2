"""An eviction inside a model: every layer's context is cut before the question, which then sees what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.errors import BadInput, UnknownName
from vevolve.evaluators.inside.context import Context
from vevolve.evaluators.inside.deviation import Deviation
from vevolve.evaluators.kv_eviction import evict
from vevolve.evaluators.kv_eviction.cache import Cache, attend, gather
from vevolve.evaluators.kv_eviction.contexts import REPEAT, Evidence
from vevolve.evaluators.kv_eviction.evict import Budget
from vevolve.evaluators.kv_eviction.generate import second_pass
from vevolve.evaluators.kv_eviction.workload import SHARES
from vevolve.evaluators.sparse_decode.recorder import projection, rope_base
from vevolve.evaluators.sparse_decode.session import parameters
from vevolve.evaluators.sparse_decode.traces import Floats, Layer
from vevolve.types import Seed, Subject


class EvictionInside:
    """One context, cut at one budget over all layers at once, as `allot` sees it."""

    def __init__(self, subject: Subject, context: Context, label: str, seed: Seed) -> None:
        known = {Budget.of(share, len(context.ids)).label: share for share in SHARES}
        if label not in known:
            raise UnknownName("operating point", label, known)
        candidate = subject.candidate
        if evict.asks(candidate, "score", "future"):
            raise BadInput("A reference that scores with the future has no model stage: what comes is not known yet.")
        base = rope_base(context.model.network)
        with subject.fresh() as process:
            kept = evict.evict(
                process,
                candidate,
                _evidence(subject, context),
                Budget.of(known[label], len(context.ids)),
                seed,
                depth=context.model.depth,
                rope_base=base,
                params=parameters(candidate),
            )
        anchor = base if candidate.constants.get("REANCHOR") is True else None
        self._context = context
        self._deviation = Deviation(context)
        self._caches: dict[int, Cache] = {
            layer: gather(held.keys, held.values, kept[layer], anchor) for layer, held in context.layers.items()
        }

    @property
    def start(self) -> int:
        """The context's length: where positions are renumbered, what comes later is turned back by as much."""
        return len(self._context.ids)

    def attend(self, layer: int, queries: Floats, keys: Floats, values: Floats) -> NDArray[np.float64]:
        """Attention over what was kept and the tokens so far; [H, G, S, d]."""
        later = Layer(queries=queries, keys=keys, values=values)
        out = attend(self._caches[layer], later, queries.shape[2]).transpose(1, 2, 0, 3)
        self._deviation.note(layer, out, queries, keys, values)
        return out

    def abandon(self) -> None:
        """Nothing is open any more."""

    def finish(self) -> dict[str, float]:
        """`memory` and `error`, as the objectives have them."""
        caches = self._caches.values()
        return {
            "memory": sum(cache.nbytes for cache in caches) / sum(cache.dense_nbytes for cache in caches),
            "error": self._deviation.error,
        }


def _evidence(subject: Subject, context: Context) -> dict[int, Evidence]:
    """What scores may be made of: the second pass and the projections only for those who ask."""
    second: dict[str, NDArray[Any]] = {}
    if evict.prefill_passes(subject.candidate) > 1:

        def run() -> dict[str, NDArray[Any]]:
            found: dict[str, NDArray[Any]] = {}
            for layer, (queries, mass) in second_pass(context.model, context.ids, list(context.layers)).items():
                found |= {f"r.{layer}": queries.astype(np.float16), f"m.{layer}": mass}
            return found

        second = context.remember(f"a second pass after {REPEAT!r}", run)
    wants_wo = evict.asks(subject.candidate, "score", "wo")
    return {
        layer: Evidence(
            keys=held.keys,
            values=held.values,
            queries=held.queries,
            repeat=second[f"r.{layer}"].astype(np.float32) if second else None,
            repeat_mass=second[f"m.{layer}"] if second else None,
            wo=projection(context.model, layer, len(held.keys)) if wants_wo else None,
        )
        for layer, held in context.layers.items()
    }
