"""From evictions to figures: percentiles by head, the needle stratum, operating points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.kv_eviction.session import Block
from vevolve.evaluators.sparse_decode.scores import PERCENTILE
from vevolve.types import Point, Split

Head: TypeAlias = tuple[str, int]
"""What heads are told apart by: model and layer."""


def head_percentiles(chosen: Sequence[Block]) -> dict[Head, NDArray[np.float64]]:
    """The 95th percentile of the error of each KV head, [H], over all (document, step, query head)."""
    return {
        key: np.percentile(errors, PERCENTILE, axis=0) for key, errors in _by_head(chosen, lambda b: b.error).items()
    }


def head_means(
    chosen: Sequence[Block], figure: Callable[[Block], NDArray[np.float64]]
) -> dict[Head, NDArray[np.float64]]:
    """The mean of a figure [S, H, G] over the units of each KV head, [H]."""
    return {key: figures.mean(axis=0) for key, figures in _by_head(chosen, figure).items()}


def _by_head(
    chosen: Sequence[Block], figure: Callable[[Block], NDArray[np.float64]]
) -> dict[Head, NDArray[np.float64]]:
    """A figure of each layer as [units, H]."""
    layers: dict[Head, list[NDArray[np.float64]]] = {}
    for block in chosen:
        array = figure(block)
        units = array.transpose(0, 2, 1).reshape(-1, array.shape[1])
        layers.setdefault((block.case.document.model, block.layer), []).append(units)
    return {key: np.concatenate(units) for key, units in layers.items()}


def needle_error(chosen: Sequence[Block]) -> float | None:
    """The objective over the steps that answer from a known place; None where there are none."""
    units: dict[Head, list[NDArray[np.float64]]] = {}
    for block in chosen:
        if block.case.document.needle is not None:
            steps = block.error[-block.case.answer_steps :].transpose(0, 2, 1)
            units.setdefault((block.case.document.model, block.layer), []).append(
                steps.reshape(-1, block.error.shape[1])
            )
    if not units:
        return None
    heads = [np.percentile(np.concatenate(errors), PERCENTILE, axis=0) for errors in units.values()]
    return float(np.concatenate(heads).mean())


def points(found: Sequence[Block], split: Split, passes: int) -> list[Point]:
    """One operating point for each share that is kept."""
    shares: dict[str, list[Block]] = {}
    for block in found:
        shares.setdefault(block.budget.label, []).append(block)
    return [_point(label, chosen, split, passes) for label, chosen in shares.items()]


def _point(label: str, chosen: Sequence[Block], split: Split, passes: int) -> Point:
    worst = np.concatenate(list(head_percentiles(chosen).values()))
    kept = [block.found for block in chosen if block.found is not None]
    return Point(
        label=label,
        split=split,
        share=float(chosen[0].budget.share),
        tokens=float(np.mean([block.counts.mean() for block in chosen])),
        memory=float(np.mean([block.nbytes / block.dense_nbytes for block in chosen])),
        error=float(worst.mean()),
        error_mean=float(np.concatenate([block.error.ravel() for block in chosen]).mean()),
        error_worst=float(worst.max()),
        error_needle=needle_error(chosen),
        lost=float(np.concatenate([block.lost.ravel() for block in chosen]).mean()),
        needle_kept=float(np.concatenate(kept).mean()) if kept else None,
        prefill_passes=passes,
    )
