"""From decoded prompts to figures: percentiles by head, and operating points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vevolve.evaluators.kv_quantization.attention import Deviation, Floats
from vevolve.evaluators.kv_quantization.workload import Operating
from vevolve.evaluators.sparse_decode.scores import PERCENTILE, Head
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.types import Point, Split


@dataclass(frozen=True)
class Block:
    """One document and layer at one cap.

    Attributes:
        case: the document.
        layer: the model's layer index.
        point: the cap.
        bits: mean bits per element, everything counted.
        tensors: payload bytes of the code by tensor.
        deviation: from dense attention.
    """

    case: Case
    layer: int
    point: Operating
    bits: float
    tensors: Mapping[str, int]
    deviation: Deviation


def error(block: Block) -> Floats:
    """The error of a block, [S, H, G]."""
    return block.deviation.error


def head_percentiles(chosen: Iterable[Block], figure: Callable[[Block], Floats] = error) -> dict[Head, Floats]:
    """The 95th percentile of an error of each KV head, [H], by model and layer.

    The units of one head are all (document, step, query head), as in `sparse_decode`.
    """
    units: dict[Head, list[Floats]] = {}
    for block in chosen:
        array = figure(block)
        heads = array.shape[1]
        key = (block.case.document.model, block.layer, heads)
        units.setdefault(key, []).append(array.transpose(0, 2, 1).reshape(-1, heads))
    return {key: np.percentile(np.concatenate(rows), PERCENTILE, axis=0) for key, rows in units.items()}


def mean_percentile(chosen: Sequence[Block], figure: Callable[[Block], Floats] = error) -> float | None:
    """The mean over (layer, KV head) of the percentiles. None where there are no blocks."""
    heads = head_percentiles(chosen, figure)
    return float(np.concatenate(list(heads.values())).mean()) if heads else None


def points(found: Sequence[Block], wide: Mapping[Operating, float], split: Split) -> list[Point]:
    """One operating point for each family and cap. `wide`: bits of the declared prompt with d = 128, by cap."""
    grouped: dict[tuple[str, Operating], list[Block]] = {}
    for block in found:
        grouped.setdefault((block.case.family, block.point), []).append(block)
    return [_point(chosen, point, family, wide.get(point), split) for (family, point), chosen in grouped.items()]


def _point(chosen: Sequence[Block], point: Operating, family: str, wide: float | None, split: Split) -> Point:
    heads = np.concatenate(list(head_percentiles(chosen).values()))
    return Point(
        label=point.label,
        split=split,
        family=family,
        cap=point.cap,
        bits=float(np.mean([block.bits for block in chosen])),
        error=float(heads.mean()),
        error_mean=float(np.mean(np.concatenate([block.deviation.error.ravel() for block in chosen]))),
        error_worst=float(heads.max()),
        error_needle=mean_percentile([block for block in chosen if block.case.needle]),
        error_keys=mean_percentile(chosen, lambda block: block.deviation.error_keys),
        error_values=mean_percentile(chosen, lambda block: block.deviation.error_values),
        key_mse=_mean(block.deviation.key_mse for block in chosen),
        value_mse=_mean(block.deviation.value_mse for block in chosen),
        ip_bias=_mean(block.deviation.bias for block in chosen),
        ip_gain=_mean(block.deviation.gain for block in chosen),
        bits_d128=wide,
    )


def _mean(figures: Iterable[Floats]) -> float:
    return float(np.mean(np.concatenate([figure.ravel() for figure in figures])))
