"""What is told of runs: where the bytes went, by buffer and shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vevolve.evaluators.decode_kernel.memory import PROCESSORS
from vevolve.evaluators.decode_kernel.run import Run
from vevolve.types import Point

ELSEWHERE = "it is right on the shapes that it was searched on, and fails on another, which is not shown"


def describe(runs: Sequence[Run], point: Point) -> str:
    """For a model: the figures, and for each shape what moved."""
    lines = [
        f"traffic {point['traffic']:.3f} and span {point['span']:.3f} times the floor (geometric means over shapes); "
        f"largest relative error {point['error']:.2g}. Counted under Triton's interpreter; this is not a latency."
    ]
    for one in runs:
        moved = ", ".join(f"{name} {size / one.case.floor:.3f}" for name, size in _largest(one))
        programs = " + ".join(str(len(launch)) for launch in one.tally.launches)
        lines.append(
            f"{one.case.label}: traffic {one.traffic:.3f} ({moved}); span {one.span:.3f}: {programs} programs, "
            f"{PROCESSORS} processors idle {idle(one):.0%} of the time"
        )
    return "\n".join(lines)


def wrong(one: Run, tolerance: float) -> str:
    """For a model: how far off an answer was, and where."""
    if not np.isfinite(one.errors).all():
        heads = int((~np.isfinite(one.errors)).sum())
        return (
            f"{one.case.label}: `out` of {heads} of {one.errors.size} query heads holds numbers that are none; "
            "what no launch wrote is NaN, and scratch holds NaN until an earlier launch has written it"
        )
    worst = np.unravel_index(int(one.errors.argmax()), one.errors.shape)
    place = ", ".join(map(str, worst))
    return (
        f"{one.case.label}: the relative L2 error of query head [{place}] is {one.error:.2e}, at most {tolerance:.0e} "
        f"is excused; the median over heads is {np.median(one.errors):.2e}"
    )


def report(runs: Sequence[Run]) -> dict[str, Any]:
    """By shape, as JSON."""
    return {
        "shapes": [
            {
                "shape": one.case.label,
                "floor_bytes": one.case.floor,
                "moved_bytes": one.tally.moved,
                "by_buffer": dict(_largest(one)),
                "programs": [len(launch) for launch in one.tally.launches],
                "traffic": _round(one.traffic),
                "span": _round(one.span),
                "idle": _round(idle(one)),
                "error": _round(one.error),
            }
            for one in runs
        ]
    }


def idle(one: Run) -> float:
    """The share of time that processors wait for the last program of a launch."""
    return 1 - one.traffic / one.span


def _largest(one: Run) -> list[tuple[str, int]]:
    return sorted(one.tally.by_buffer.items(), key=lambda item: -item[1])


def _round(value: float) -> float:
    return float(f"{value:.5g}")
