"""Asking a candidate: every eviction once, some of them again in a fresh process; then attend with what is left."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.errors import BadInput
from vevolve.evaluators.kv_eviction import evict
from vevolve.evaluators.kv_eviction.cache import Ids, attend, gather
from vevolve.evaluators.kv_eviction.contexts import Context
from vevolve.evaluators.kv_eviction.evict import Budget, asks
from vevolve.evaluators.kv_eviction.workload import Question, questions
from vevolve.evaluators.sparse_decode.attention import LARGEST_ERROR, reference
from vevolve.evaluators.sparse_decode.session import parameters
from vevolve.evaluators.sparse_decode.traces import Floats
from vevolve.types import CandidateFault, Process, Seed, Subject


@dataclass(frozen=True)
class Block:
    """One context and layer under one budget: arrays over steps, KV heads and query heads.

    Attributes:
        case: the context.
        layer: the model's layer.
        budget: what was allowed.
        counts: kept tokens of each KV head, [H].
        error: relative L2 error of each output, [S, H, G].
        lost: share of the true softmax mass that stood on evicted tokens, [S, H, G].
        found: share of the needle's tokens that each KV head kept, [H]; None without a needle.
        nbytes: of what must be stored.
        dense_nbytes: of the cache of all tokens.
    """

    case: Context
    layer: int
    budget: Budget
    counts: NDArray[np.int64]
    error: NDArray[np.float64]
    lost: NDArray[np.float64]
    found: NDArray[np.float64] | None
    nbytes: int
    dense_nbytes: int


@dataclass(frozen=True)
class _Answer:
    kept: Mapping[int, Ids]
    digest: bytes


def run(subject: Subject, cases: Sequence[Context], shares: Sequence[Fraction], seed: Seed) -> list[Block]:
    """Ask for every eviction of a workload, and attend with what is left.

    One process answers all, in random order. Then one eviction of each context, drawn at random, is asked again in a
    process that sees nothing else, its layers from the last to the first. Scores and kept tokens must agree bit for
    bit, so that nothing a process remembers decides.

    Raises:
        CandidateFault: what the candidate did wrong, with the place where it showed.
    """
    _check_roles(subject, cases)
    params = parameters(subject.candidate)
    asked = questions(cases, shares)
    # The order depends on the program too, so that no lineage of programs can learn what is asked again.
    draw = np.random.default_rng(seed.derive("order", subject.candidate.id).integer)
    order = [asked[place] for place in draw.permutation(len(asked))]
    answers: dict[Question, _Answer] = {}
    seen: dict[tuple[int, int], Floats] = {}
    with subject.fresh() as process:
        for question in order:
            answers[question] = _ask(process, subject, cases[question.case], question, seed, params, seen)
    for question in {question.case: question for question in order}.values():
        with subject.fresh() as process:
            again = _ask(process, subject, cases[question.case], question, seed, params, {}, backwards=True)
        if again.digest != answers[question].digest:
            raise CandidateFault(
                "unstable",
                "depends on earlier calls: asked again alone in a fresh process, it gave other scores or kept other "
                "tokens. score and allot must be functions of their arguments: keep nothing between calls, and draw "
                f"only from rng (context {cases[question.case].document.name}, keep {question.share})",
            )
    return [
        _block(cases[question.case], layer, question, ids, subject)
        for question in asked
        for layer, ids in answers[question].kept.items()
    ]


def _check_roles(subject: Subject, cases: Sequence[Context]) -> None:
    """Only references see the future, and only contexts with a known rotary base are re-anchored."""
    candidate = subject.candidate
    if not _is_reference(subject) and "future" in candidate.functions["score"].names:
        raise CandidateFault(
            "interface",
            "`score` asks for 'future', the queries that come after the context; only references "
            "(REFERENCE = True), which are lines on plots and never evolved, are given them",
        )
    if candidate.constants.get("REANCHOR") is True:
        unknown = [case.document.name for case in cases if case.document.rope_base is None]
        if unknown:
            raise BadInput(f"{unknown[0]}: a program that re-anchors positions needs the metadata rope_base.")


def _is_reference(subject: Subject) -> bool:
    return subject.candidate.constants.get("REFERENCE") is True


def _ask(
    process: Process, subject: Subject, case: Context, question: Question, seed: Seed,
    params: Mapping[str, NDArray[Any]], seen: dict[tuple[int, int], Floats], backwards: bool = False,
) -> _Answer:  # fmt: skip
    """One eviction. Scores that do not depend on the budget are asked for once: `seen`, by context and layer."""
    document, candidate = case.document, subject.candidate
    budget = Budget.of(question.share, document.prompt)
    own = seed.derive("document", document.hash)
    by_budget = asks(candidate, "score", "budget")
    scores: dict[int, Floats] = {}
    try:
        for layer in sorted(case.evidence, reverse=backwards):
            known = None if by_budget else seen.get((question.case, layer))
            if known is None:
                future = document.layers[layer].queries[:, :, -document.steps :] if _is_reference(subject) else None
                known = evict.score(
                    process, candidate, case.evidence[layer], budget, own,
                    layer=layer, depth=case.depth, rope_base=document.rope_base, params=params, future=future,
                )  # fmt: skip
                seen[question.case, layer] = known
            scores[layer] = known
        scores = {layer: scores[layer] for layer in sorted(scores)}
        kept = evict.keep(process, candidate, scores, budget, depth=case.depth, params=params)
    except CandidateFault as fault:
        place = f"context {document.name}, {budget.label}: {budget.tokens} of {document.prompt} tokens"
        raise CandidateFault(fault.status, f"{fault.feedback} ({place})") from fault
    digest = hashlib.blake2b(digest_size=16)
    for layer, ids in kept.items():
        digest.update(scores[layer].tobytes() + b"\0".join(rows.tobytes() for rows in ids))
    return _Answer(kept, digest.digest())


def _block(case: Context, layer: int, question: Question, ids: Ids, subject: Subject) -> Block:
    """Really gather the kept rows, attend over them, and compare with dense attention."""
    document, evidence = case.document, case.evidence[layer]
    reanchor = subject.candidate.constants.get("REANCHOR") is True
    cache = gather(evidence.keys, evidence.values, ids, document.rope_base if reanchor else None)
    out, dense = attend(cache, document.layers[layer], document.steps), reference(document, layer)
    error = np.linalg.norm(out - dense.outputs, axis=-1) / np.maximum(np.linalg.norm(dense.outputs, axis=-1), 1e-30)
    evicted = np.ones(evidence.keys.shape[:2], dtype=bool)
    for head, rows in enumerate(ids):
        evicted[head, rows] = False
    attention = np.exp(dense.logits[..., : document.prompt] - dense.mass[..., None])
    found = None
    if document.needle is not None:
        found = 1 - evicted[:, slice(*document.needle)].mean(axis=1)
    return Block(
        case=case,
        layer=layer,
        budget=Budget.of(question.share, document.prompt),
        counts=np.array(cache.counts),
        error=np.minimum(error, LARGEST_ERROR),
        lost=np.einsum("shgn,hn->shg", attention, evicted, optimize=True),
        found=found,
        nbytes=cache.nbytes,
        dense_nbytes=cache.dense_nbytes,
    )
