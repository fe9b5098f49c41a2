"""From answers to figures: percentiles by head, strata, operating points, bounds, projections."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.sparse_decode.meter import Traffic
from vevolve.evaluators.sparse_decode.session import Outcome, Session
from vevolve.evaluators.sparse_decode.workload import Case, Operating
from vevolve.evaluators.statistics import hoeffding_bentkus_upper
from vevolve.types import Bound, Point, Split

Head: TypeAlias = tuple[str, int, int]
"""What heads are told apart by: model, layer, and KV heads of that layer."""
PERCENTILE = 95
LONG = (32_768, 131_072)
"""Contexts that traffic is projected to."""


@dataclass(frozen=True)
class Block:
    """One document and layer at one operating point: arrays over steps, KV heads and query heads.

    Attributes:
        error: relative L2 error, [S, H, G].
        covered: share of the true softmax mass that was chosen, [S, H, G].
        mass: estimated over true softmax denominator, [S, H, G].
        attended: distinct tokens by step and KV head, [S, H].
        traffic: by step.
        rounds: the most of any step.
    """

    case: Case
    layer: int
    point: Operating
    error: NDArray[np.float64]
    covered: NDArray[np.float64]
    mass: NDArray[np.float64]
    attended: NDArray[np.int64]
    traffic: tuple[Traffic, ...]
    rounds: int


def blocks(session: Session, cases: Sequence[Case]) -> list[Block]:
    """Put the steps of each document, layer and operating point together."""

    def place(outcome: Outcome) -> tuple[int, int, Operating]:
        question = outcome.question
        return question.case, question.layer, question.point

    return [
        _block(cases[case], layer, point, list(steps))
        for (case, layer, point), steps in itertools.groupby(session.outcomes, key=place)
    ]


def _block(case: Case, layer: int, point: Operating, steps: list[Outcome]) -> Block:
    return Block(
        case=case,
        layer=layer,
        point=point,
        error=np.stack([one.deviation.error for one in steps]),
        covered=np.stack([one.deviation.covered for one in steps]),
        mass=np.stack([one.deviation.mass for one in steps]),
        attended=np.stack([one.attended for one in steps]),
        traffic=tuple(one.traffic for one in steps),
        rounds=max(one.rounds for one in steps),
    )


# --------------------------------------------------------------------------------------------------------- errors


def head_percentiles(chosen: Iterable[Block]) -> dict[Head, NDArray[np.float64]]:
    """The 95th percentile of the error of each KV head, [H], by model and layer.

    The units of one head are all (document, step, query head).
    """
    return {key: np.percentile(errors, PERCENTILE, axis=0) for key, errors in _by_head(chosen, lambda b: b.error)}


def head_means(
    chosen: Iterable[Block], figure: Callable[[Block], NDArray[np.float64]]
) -> dict[Head, NDArray[np.float64]]:
    """The mean of a figure [S, H, G] over the units of each KV head, [H], by model and layer."""
    return {key: figures.mean(axis=0) for key, figures in _by_head(chosen, figure)}


def _by_head(
    chosen: Iterable[Block], figure: Callable[[Block], NDArray[np.float64]]
) -> Iterable[tuple[Head, NDArray[np.float64]]]:
    """A figure of each layer as [units, H]."""
    layers: dict[Head, list[NDArray[np.float64]]] = {}
    for block in chosen:
        array = figure(block)
        units = array.transpose(0, 2, 1).reshape(-1, array.shape[1])
        layers.setdefault((block.case.document.model, block.layer, array.shape[1]), []).append(units)
    return [(key, np.concatenate(units)) for key, units in layers.items()]


def mean_percentile(chosen: Sequence[Block]) -> float | None:
    """The objective: the mean over (layer, KV head) of the percentiles. None where there are no blocks."""
    heads = head_percentiles(chosen)
    return float(np.concatenate(list(heads.values())).mean()) if heads else None


# --------------------------------------------------------------------------------------------------------- points


def points(found: Sequence[Block], session: Session, cases: Sequence[Case], split: Split) -> list[Point]:
    """One operating point for each family and setting."""
    bits = index_bits(session, cases)
    grouped: dict[tuple[str, Operating], list[Block]] = {}
    for block in found:
        grouped.setdefault((block.case.family, block.point), []).append(block)
    return [
        _point(chosen, operating, family, split, bits.get(family, 0.0))
        for (family, operating), chosen in grouped.items()
    ]


def _point(chosen: Sequence[Block], operating: Operating, family: str, split: Split, bits: float) -> Point:
    worst = np.concatenate(list(head_percentiles(chosen).values()))
    steps = [one for block in chosen for one in block.traffic]
    return Point(
        label=operating.label,
        split=split,
        family=family,
        tokens=operating.tokens,
        traffic=float(np.mean([one.share for one in steps])),
        density=float(np.mean(np.concatenate([_density(block) for block in chosen]))),
        error=float(worst.mean()),
        error_mean=float(np.concatenate([block.error.ravel() for block in chosen]).mean()),
        error_worst=float(worst.max()),
        error_needle=mean_percentile([block for block in chosen if block.case.needle]),
        index_bits=bits,
        rounds=max(block.rounds for block in chosen),
        steps=asked_steps(chosen),
        **{
            f"traffic_{context // 1024}k": float(np.mean([one.projected(context) for one in steps])) for context in LONG
        },
    )


def asked_steps(chosen: Iterable[Block]) -> int:
    """Decode steps that blocks of one operating point stand on, over all documents."""
    return sum({block.case.document.hash: len(block.traffic) for block in chosen}.values())


def _density(block: Block) -> NDArray[np.float64]:
    """Distinct tokens attended per KV head over visible tokens, by step."""
    visible = np.array([one.n for one in block.traffic])
    density: NDArray[np.float64] = block.attended.mean(axis=1) / visible
    return density


def index_bits(session: Session, cases: Sequence[Case]) -> dict[str, float]:
    """Bits of the built index per prompt token and KV head, by family; 16-bit keys and values not included."""
    found: dict[str, list[float]] = {}
    for (place, layer, fold), index in session.indices.items():
        document = cases[place].document
        if fold == 0:
            units = document.prompt * document.layers[layer].heads
            found.setdefault(cases[place].family, []).append(8 * index.payload / units)
    return {family: float(np.mean(bits)) for family, bits in found.items()}


# --------------------------------------------------------------------------------------------------------- bounds


def bounds(found: Sequence[Block], split: Split) -> list[Bound]:
    """How often each (epsilon, delta) was broken on the main workload, with an upper limit by document.

    The limit is `hoeffding_bentkus_upper` over the documents' rates: documents are the independent draws.
    """
    kept: list[Bound] = []
    for point in dict.fromkeys(block.point for block in found):
        if point.epsilon is None or point.delta is None:
            continue
        own = [block for block in found if block.point == point and not block.case.family]
        rates = list(document_rates(own, point.epsilon).values())
        kept.append(
            Bound(
                epsilon=point.epsilon,
                delta=point.delta,
                split=split,
                rate=float(np.mean(rates)),
                documents=len(rates),
                upper=hoeffding_bentkus_upper(rates),
            )
        )
    return kept


def document_rates(chosen: Sequence[Block], epsilon: float) -> Mapping[str, float]:
    """By document, the share of its (layer, step, query head) units whose error exceeds epsilon."""
    over: dict[str, list[NDArray[np.bool_]]] = {}
    for block in chosen:
        over.setdefault(block.case.document.hash, []).append((block.error > epsilon).ravel())
    return {name: float(np.concatenate(units).mean()) for name, units in over.items()}
