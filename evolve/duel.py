"""A promoted program against its incumbent, document by document.

On each document both answer at all their operating points. What the challenger gains there is what the incumbent's own
hypervolume changes by when the challenger's points take the place of the incumbent's at the claimed labels: above 0
where that is an improvement, whatever number of objectives there are. A program that only slides along the incumbent's
curve gains nothing. A document is one draw, whatever heads, layers and steps go into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vevolve.archive import pareto
from vevolve.archive.pareto import Loss
from vevolve.archive.reading import loss_of
from vevolve.evaluators.confidence import paired
from vevolve.evaluators.fresh import family_of
from vevolve.types import Objective, Point, Verdict

EVEN = 1e-9
"""Hypervolume below which a difference is none: rounding."""


def gain(
    challenger: Iterable[Point], incumbent: Iterable[Point], claims: Sequence[str], objectives: Sequence[Objective]
) -> float:
    """What the incumbent's hypervolume gains with the challenger's points at the claimed labels."""
    own = _by_label(incumbent, objectives)
    swapped = own | {label: _by_label(challenger, objectives).get(label) for label in claims}
    reference: Loss = tuple(axis.loss(axis.worst) for axis in objectives)

    def worth(losses: Iterable[Loss | None]) -> float:
        return pareto.hypervolume([loss for loss in losses if loss is not None], reference)

    difference = worth(swapped.values()) - worth(own.values())
    return 0.0 if abs(difference) < EVEN else difference


def common(challenger: Iterable[Point], incumbent: Iterable[Point], claims: Iterable[str]) -> tuple[str, ...]:
    """Those claims that both answer: a point without a counterpart could only add."""
    theirs = {point.label for point in incumbent} & {point.label for point in challenger}
    return tuple(label for label in claims if label in theirs)


def gains(
    challenger: Verdict,
    incumbent: Verdict,
    claims: Sequence[str],
    objectives: Sequence[Objective],
    numbers: range,
) -> tuple[float, ...]:
    """The gain on each of the documents of a workload. A program that is invalid on it has no points there."""
    return tuple(
        gain(_on(challenger, family), _on(incumbent, family), claims, objectives)
        for family in (family_of(numbers.start, number) for number in numbers)
    )


def evidence(gains: Sequence[float], claimed: float) -> float:
    """E-value against "in the mean, a fresh document brings no gain, or a loss".

    Gains count up to what was claimed on `select` before the documents were drawn, on either side: so much bounds what
    is bet on, whatever the law of gains, and one lucky document cannot make an elite.
    """
    return paired.evidence(gains, claimed)


def least_gain(gains: Sequence[float], claimed: float) -> float:
    """The 95 % lower confidence limit of the mean gain, as a share of what was claimed, -1 to 1.

    It is valid at every number of documents. Where `evidence` reaches one over some level, the limit at that level is
    above 0: so an elite is one whose limit, at the level of its own test, is.
    """
    return paired.compare(gains, claimed).lower / claimed


def _on(verdict: Verdict, family: str) -> list[Point]:
    return [point for point in verdict.points if verdict.valid and point.family == family]


def _by_label(points: Iterable[Point], objectives: Sequence[Objective]) -> dict[str, Loss | None]:
    return {point.label: loss_of(point.model_extra or {}, objectives) for point in points}
