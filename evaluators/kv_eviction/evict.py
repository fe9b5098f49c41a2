"""Apply a candidate: score every layer's tokens, then keep what scores and budget say. Any stage can call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.errors import BadInput
from vevolve.evaluators.kv_eviction.cache import Ids
from vevolve.evaluators.kv_eviction.contexts import Evidence
from vevolve.evaluators.sparse_decode.traces import Floats
from vevolve.types import Array, Candidate, CandidateFault, Process, Seed, Settings


@dataclass(frozen=True)
class Budget:
    """How much of a context may be kept.

    Attributes:
        share: of the context's tokens.
        tokens: kept per KV head and layer on average, at least one.
    """

    share: Fraction
    tokens: int

    @classmethod
    def of(cls, share: Fraction, context: int) -> Budget:
        """The budget for a context of so many tokens. Raises `BadInput` where it keeps less than one token."""
        if (tokens := int(share * context)) < 1:
            raise BadInput(
                f"A context of {context} tokens cannot be cut to {share}: that keeps less than one token a head. "
                f"Expected at least {-(-share.denominator // share.numerator)} tokens before the question."
            )
        return cls(share, tokens)

    @property
    def label(self) -> str:
        """What verdicts call it."""
        return f"keep {self.share}"

    @property
    def settings(self) -> Settings:
        """As the candidate sees it."""
        return Settings({"tokens": self.tokens, "share": float(self.share)})


def evict(
    process: Process, candidate: Candidate, layers: Mapping[int, Evidence], budget: Budget, seed: Seed,
    *, depth: int, rope_base: float | None = None, params: Mapping[str, NDArray[Any]] | None = None,
    future: Mapping[int, Floats] | None = None,
) -> dict[int, Ids]:  # fmt: skip
    """Ask a candidate which tokens of a context stay.

    Args:
        process: where the candidate runs.
        candidate: its text, of which the signatures matter.
        layers: by layer, what it may score with.
        budget: how much may stay.
        seed: of this document; each layer's generator is derived from it.
        depth: how many layers the model has.
        rope_base: of its rotary embedding.
        params: the arrays of the candidate's parameter file.
        future: by layer, the queries of the later tokens [H, G, S, d]; for references only.

    Returns:
        By layer: the kept tokens of each KV head, ascending.

    Raises:
        CandidateFault: it failed, returned another shape or NaN, or kept more than the budget allows.
        BadInput: it asks for evidence that was not recorded.
    """
    scores = {
        layer: score(
            process, candidate, evidence, budget, seed,
            layer=layer, depth=depth, rope_base=rope_base, params=params, future=(future or {}).get(layer),
        )
        for layer, evidence in layers.items()
    }  # fmt: skip
    return keep(process, candidate, scores, budget, depth=depth, params=params)


def asks(candidate: Candidate, function: str, argument: str) -> bool:
    """Whether a function of the candidate gets an argument."""
    signature = candidate.functions.get(function)
    return signature is not None and (argument in signature.names or signature.open)


def prefill_passes(candidate: Candidate) -> int:
    """How often the model must read the context: twice for a candidate that asks for a second pass."""
    return 2 if asks(candidate, "score", "repeat") or asks(candidate, "score", "repeat_mass") else 1


def score(
    process: Process, candidate: Candidate, evidence: Evidence, budget: Budget, seed: Seed,
    *, layer: int, depth: int, rope_base: float | None = None, params: Mapping[str, NDArray[Any]] | None = None,
    future: Floats | None = None,
) -> Floats:  # fmt: skip
    """The scores of one layer's tokens, [H, n]. Without `budget` among its arguments, the same at every budget."""
    heads, n = evidence.keys.shape[:2]
    named: dict[str, Any] = {name: getattr(evidence, name) for name in ("repeat", "repeat_mass", "wo")}
    signature = candidate.functions.get("score")
    for name, tensor in named.items():
        if tensor is None and signature is not None and name in signature.names:
            raise BadInput(
                f"This program scores with `{name}`, which the context does not hold; contexts recorded by "
                "`python -m vevolve.evaluators.kv_eviction.generate` hold everything."
            )
    if future is not None:
        named["future"] = future
    place = budget.label if asks(candidate, "score", "budget") else ""
    found: Floats = process.call(
        "score",
        keys=evidence.keys,
        values=evidence.values,
        queries=evidence.queries,
        **named,
        layer=layer,
        depth=depth,
        budget=budget.settings,
        rope_base=rope_base,
        params=dict(params or {}),
        rng=seed.derive("score", layer, place),
        returns=Array("f4", (heads, n)),
    )
    if wrong := int(np.count_nonzero(np.isnan(found))):
        raise CandidateFault(
            "wrong",
            f"score returned {wrong} NaN of {heads} x {n} scores; compute in float32, where half precision overflows",
        )
    if budget.tokens < n and (blank := np.flatnonzero(np.isinf(found).all(axis=1))).size:
        raise CandidateFault(
            "wrong",
            f"score returned infinity for every token of head {blank[0]}, which says nothing; +inf marks tokens that "
            f"must stay, and the budget of {budget.tokens} cannot hold all {n}",
        )
    return found


def keep(
    process: Process, candidate: Candidate, scores: Mapping[int, Floats], budget: Budget,
    *, depth: int, params: Mapping[str, NDArray[Any]] | None = None,
) -> dict[int, Ids]:  # fmt: skip
    """The kept tokens by layer and head: what `allot` says, or the best `budget.tokens` of each head."""
    if "allot" not in candidate.functions:
        return {layer: tuple(best(row, budget.tokens) for row in found) for layer, found in scores.items()}
    layers = list(scores)
    stacked = np.stack([scores[layer] for layer in layers])
    mask = process.call(
        "allot",
        scores=stacked,
        budget=budget.settings,
        layers=layers,
        depth=depth,
        params=dict(params or {}),
        returns=Array("u1", stacked.shape),
    )
    if int(mask.max(initial=0)) > 1:
        raise CandidateFault("wrong", f"allot must return 1 to keep a token and 0 to drop it; found {int(mask.max())}")
    heads, allowed = stacked.shape[1], min(budget.tokens, stacked.shape[2])
    if (found := int(mask.sum(dtype=np.int64))) > allowed * heads * len(layers):
        raise CandidateFault(
            "wrong",
            f"allot keeps {found} tokens over {len(layers)} layers of {heads} KV heads; the budget of {allowed} a head "
            f"and layer allows {allowed * heads * len(layers)}",
        )
    return {layer: tuple(np.flatnonzero(row) for row in mask[place]) for place, layer in enumerate(layers)}


def best(scores: Sequence[float] | NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """The places of the `count` largest scores, ascending; of equal scores the last ones."""
    backwards = np.asarray(scores)[::-1]
    order = np.argsort(-backwards, kind="stable")[:count]
    return np.sort(len(backwards) - 1 - order)
