"""The problem `circle_packing`: 26 circles in the unit square, as large as they will go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.contract import Function, Problem, Published, Workload
from vevolve.types import Array, Objective, Point, Subject, Verdict

CIRCLES = 26
TOLERANCE = 1e-9
"""The overlap that rounding excuses, in sides of the square. It is taken off every radius, so it wins nothing."""


class CirclePacking(Problem):
    """Pack 26 circles into the unit square without overlap, so that the sum of their radii is as large as possible."""

    name = "circle_packing"
    objectives = (Objective("sum_radii", "max", worst=0.0, unit="sides of the square"),)
    functions = (Function(name="pack", arguments=("n",), positional=True),)
    arrays = "numpy"
    default_seed = "grid"
    published = (
        Published(
            name="best known before AlphaEvolve",
            values={"sum_radii": 2.634},
            source="E. Friedman, Packing Center, erich-friedman.github.io/packing/cirRsqu; quoted in arXiv:2506.13131",
        ),
        Published(
            name="AlphaEvolve",
            values={"sum_radii": 2.63586},
            source="arXiv:2506.13131, appendix B.12, which prints 2.635; more decimals as others quote it",
        ),
        Published(
            name="ShinkaEvolve",
            values={"sum_radii": 2.63598},
            source="arXiv:2509.19349 (from memory)",
        ),
    )

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        """Ask for one packing and measure it. Nothing is held out: the `select` stage asks the same question again."""
        circles = subject.call("pack", CIRCLES, returns=Array("f8", (CIRCLES, 3)))
        if not np.isfinite(circles).all():
            return self.invalid("every number of a packing must be finite")
        if circles[:, 2].min() < 0:
            return self.invalid(f"a radius must not be negative; the least one is {circles[:, 2].min():.4g}")
        overlap = worst_overlap(circles)
        if overlap > TOLERANCE:
            return self.invalid(f"circles overlap or leave the square by {overlap:.2e}; {TOLERANCE:.0e} is excused")
        return self.verdict(
            Point(label=f"{CIRCLES} circles", split=workload.stage.split, sum_radii=sum_radii(circles, overlap)),
            feedback=_feedback(circles),
        )


def worst_overlap(circles: NDArray[np.float64]) -> float:
    """How far circles [n, 3] (x, y, radius) reach into each other or out of the unit square, at worst; at least 0."""
    centres, radii = circles[:, :2], circles[:, 2]
    with np.errstate(over="ignore"):  # radii near the largest float: infinitely far outside is far enough
        outside = radii[:, None] - np.minimum(centres, 1 - centres)
        return max(0.0, float(outside.max()), float(-_gaps(circles).min()))


def sum_radii(circles: NDArray[np.float64], overlap: float) -> float:
    """The sum of the radii of circles [n, 3] after each has shrunk by `overlap`, which leaves no overlap at all."""
    return float(np.maximum(circles[:, 2] - overlap, 0.0).sum())


def _gaps(circles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance between each two different circles' rims, [n (n - 1) / 2]; negative where they overlap."""
    first, second = np.triu_indices(len(circles), k=1)
    between = np.hypot(*(circles[first, :2] - circles[second, :2]).T)
    gaps: NDArray[np.float64] = between - circles[first, 2] - circles[second, 2]
    return gaps


def _feedback(circles: NDArray[np.float64]) -> str:
    radii = circles[:, 2]
    free = 1 - np.pi * float((radii**2).sum())
    loose = int((_gaps(circles) < 1e-6).sum())
    return (
        f"sum of radii {radii.sum():.6f}; radii from {radii.min():.4f} to {radii.max():.4f}; "
        f"{free:.1%} of the square is empty; {loose} pairs touch"
    )


problem = CirclePacking()
