"""What a candidate's metered twin answers to the questions that were timed: whether both are one operating point.

The process on the GPU has the whole cache in its memory, so its reads cannot be metered. But its twin, in a process
without a cache, answers some of the same questions through the meter, with the same index: so what was timed must
choose the same tokens, as many, with the same error, or it is another program than the one that is charged.

Generators of random numbers differ between devices. The twin is asked several times with different ones: what it
chooses each time is what does not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.latency.cache import Cache, Question
from vevolve.evaluators.sparse_decode.answer import Answer, check
from vevolve.evaluators.sparse_decode.attention import attended
from vevolve.evaluators.sparse_decode.meter import Index, Meter
from vevolve.evaluators.sparse_decode.workload import Operating
from vevolve.kernels.timing import same_point
from vevolve.types import Arrays, Resident, Seed, Subject

DRAWS = 3
"""Times that a question is asked of a twin, each with other random numbers."""
FEW = 1 / 16
"""A share of its tokens that chance may draw each time; less than that is not held against anybody."""
ALIKE, LEAST = 0.9, 0.5
"""Share of the tokens chosen in any case that the timed answer must hold, in the mean and for each question. Scores
that two devices round differently move tokens about the end of a budget, a page of 16 at a time."""
SLACK, DEVIATIONS = 0.02, 5.0
"""Difference of an error that arithmetic on another device explains, and standard errors that chance does."""
MAX_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Step:
    """One layer of one answer.

    Attributes:
        answer: the selection, checked.
        error: relative L2 error of the output it gives, [H, G].
    """

    answer: Answer
    error: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Metered:
    """A step of the twin, and its bytes."""

    step: Step
    share: float
    total: int


@dataclass(frozen=True)
class Place:
    """One layer of a timed question."""

    question: Question
    layer: int


def judged(cache: Cache, question: Question, layer: int, frame: Mapping[str, NDArray[Any]], point: Operating) -> Step:
    """Check a selection against the rules, and compare what it gives with dense attention.

    Raises:
        CandidateFault: a rule is broken.
    """
    held = cache.layers[layer]
    rows, tokens, dim = held.keys.shape
    answer = check(frame, rows, cache.group, dim, tokens, point.tokens)  # type: ignore[arg-type]
    out = output(cache, question, layer, answer)
    exact = cache.exact(question)[layer]
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.linalg.norm(out - exact, axis=-1) / np.maximum(np.linalg.norm(exact, axis=-1), 1e-30)
    return Step(answer, error)


def output(cache: Cache, question: Question, layer: int, answer: Answer) -> NDArray[np.float64]:
    """Attention over what was chosen, in float64: [H, G, d]."""
    held, query = cache.layers[layer], question.queries[layer].astype(np.float64)
    at = np.arange(len(held.keys))[:, None, None]
    chosen = held.keys[at, answer.ids].astype(np.float64)  # [H, 1 or G, m, d]
    logits = (chosen @ query[..., None])[..., 0] if answer.ids.shape[1] > 1 else query @ chosen[:, 0].swapaxes(-1, -2)
    out, _ = attended(answer, logits / np.sqrt(query.shape[-1]), held.values)  # type: ignore[arg-type]
    return out


def ask(
    subject: Subject,
    cache: Cache,
    places: Sequence[Place],
    indices: Sequence[Index],
    params: Resident,
    point: Operating,
    key: Seed,
) -> list[list[Metered]]:
    """The twin's answers, by place and draw. Raises `CandidateFault`."""
    found: list[list[Metered]] = [[] for _ in places]
    processes = [subject.fresh() for _ in range(DRAWS)]
    try:
        for layer in sorted({place.layer for place in places}):
            held = cache.layers[layer]
            keys, values = (np.ascontiguousarray(one, np.float32) for one in (held.keys, held.values))
            for at, place in enumerate(places):
                if place.layer != layer:
                    continue
                for draw, process in enumerate(processes):
                    meter = Meter(keys, values, indices[layer], keys.shape[1])
                    frame = process.call(
                        "select",
                        query=np.ascontiguousarray(place.question.queries[layer]),
                        budget=point.budget,
                        layer=layer,
                        params=params,
                        rng=key.derive("twin", place.question.number, layer, draw),
                        serve=meter.services(),
                        returns=Arrays(max_count=4, max_bytes=MAX_BYTES),
                    )
                    step = judged(cache, place.question, layer, frame, point)
                    traffic = meter.account(step.answer.chosen, step.answer.tail_elements)
                    found[at].append(Metered(step, traffic.share, traffic.total))
    finally:
        for process in processes:
            process.__exit__(None, None, None)
    return found


def differences(timed: Sequence[Step], twins: Sequence[Sequence[Metered]]) -> list[str]:
    """How timed steps differ from their twins, a line each; none where both are one operating point."""
    found: list[str] = []
    held = [share for step, both in zip(timed, twins, strict=True) if (share := _held(step, both)) is not None]
    if held and (float(np.mean(held)) < ALIKE or min(held) < LEAST):
        found.append(
            f"other tokens than its metered twin chooses: {np.mean(held):.0%} of what that chooses whatever the random "
            f"numbers, in the worst step {min(held):.0%}; expected at least {ALIKE:.0%} and {LEAST:.0%}"
        )
    means = [float(step.error.mean()) for step in timed]
    theirs = [float(np.mean([one.step.error.mean() for one in both])) for both in twins]
    spread = float(np.std(np.subtract(means, theirs), ddof=1)) / len(means) ** 0.5 if len(means) > 1 else 0.0
    metered = {"error": float(np.mean(theirs)), "tokens": _tokens([one.step for both in twins for one in both])}
    ours = {"error": float(np.mean(means)), "tokens": _tokens(timed)}
    chance = DEVIATIONS * spread
    # A better answer than the metered one was read from what nobody charged.
    worse = same_point(_plus(metered, chance), ours, {"error": "min", "tokens": "min"}, SLACK)
    better = same_point(_plus(ours, chance), metered, {"error": "min", "tokens": "min"}, SLACK)
    if worse or better:
        found.append(
            worse
            or f"another operating point: error {ours['error']:.4g} and {ours['tokens']:.0f} tokens a "
            f"step where it was timed, {metered['error']:.4g} and {metered['tokens']:.0f} where it was metered"
        )
    return found


def _held(step: Step, twins: Sequence[Metered]) -> float | None:
    """Share of the tokens that all twins chose that the timed step holds too; None where there are next to none."""
    common = np.logical_and.reduce([one.step.answer.chosen for one in twins])
    count = int(np.count_nonzero(common))
    if count < FEW * _tokens([one.step for one in twins]):
        return None
    return int(np.count_nonzero(common & step.answer.chosen)) / count


def _tokens(steps: Sequence[Step]) -> float:
    return float(np.mean([step.answer.attended for step in steps]))


def _plus(figures: Mapping[str, float], error: float) -> dict[str, float]:
    return {**figures, "error": figures["error"] + error}
