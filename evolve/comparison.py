"""A promoted program against its incumbent, document by document.

On each document the incumbent answers at all its operating points, the challenger at those that it claims. What it
gains there is what the incumbent's own hypervolume changes by when the challenger's points take the place of the
incumbent's at the claimed labels: above 0 where that is an improvement, whatever number of objectives there are. It is
the volume of a staircase: points that are spread better along the same curve gain as well. A document is one draw,
whatever heads, layers and steps go into it.

What fails never helps the challenger. Where it is invalid, it loses all that the incumbent holds on that document; a
point that the incumbent does not answer, or any where it is invalid, gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vevolve.archive import pareto
from vevolve.archive.pareto import Loss
from vevolve.archive.reading import loss_of
from vevolve.evaluators.confidence import paired
from vevolve.types import Objective, Point, Verdict

EVEN = 1e-9
"""Hypervolume below which a difference is none: rounding."""
LEAST_CLAIM = 1e-4
"""The least gain that may be claimed, as a share of the incumbent's own hypervolume.

Gains are cut at the claim, so that one below all that matters would count wins and losses, however large these are.
"""


def gain(
    challenger: Iterable[Point], incumbent: Iterable[Point], claims: Sequence[str], objectives: Sequence[Objective]
) -> float:
    """What the incumbent's hypervolume gains with the challenger's points at the claimed labels that both could answer.

    A label that the challenger leaves out is lost; one that the incumbent leaves out gains nothing.
    """
    own, other = _by_label(incumbent, objectives), _by_label(challenger, objectives)
    swapped = own | {label: other.get(label) for label in claims if own.get(label) is not None}
    difference = _volume(swapped.values(), objectives) - _volume(own.values(), objectives)
    return 0.0 if abs(difference) < EVEN else difference


def common(challenger: Iterable[Point], incumbent: Iterable[Point], claims: Iterable[str]) -> tuple[str, ...]:
    """Those claims that both answer: a point without a counterpart could only add."""
    theirs = {point.label for point in incumbent} & {point.label for point in challenger}
    return tuple(label for label in claims if label in theirs)


def worth_documents(claimed: float, incumbent: Iterable[Point], objectives: Sequence[Objective]) -> bool:
    """Whether what is claimed to be gained over these points is more than next to nothing."""
    return claimed > max(EVEN, LEAST_CLAIM * _volume(_by_label(incumbent, objectives).values(), objectives))


def outcome(challenger: Verdict, incumbent: Verdict, claims: Sequence[str], objectives: Sequence[Objective]) -> float:
    """The gain on one document, from the verdicts on it. A challenger that is invalid there loses at every label."""
    theirs = _points(incumbent)
    labels = claims if challenger.valid else [point.label for point in theirs]
    return gain(_points(challenger), theirs, labels, objectives)


def evidence(gains: Sequence[float], claimed: float) -> float:
    """E-value against "the mean of gains on fresh documents, each cut at the claim on either side, is at most 0".

    The claim is what `select` showed before the documents were drawn. It bounds what is bet on, whatever the law of
    gains, and no lucky document makes an elite by itself. It also bounds what one loss counts: a program that gains
    its claim on most documents and loses many times as much on a few may be an elite.
    """
    return paired.evidence(gains, claimed)


def least_gain(gains: Sequence[float], claimed: float) -> float:
    """The 95 % lower confidence limit of the mean gain, each gain cut at the claim, as a share of the claim: -1 to 1.

    It is valid at every number of documents. Where `evidence` reaches one over some level, the limit at that level is
    above 0: so an elite's limit, at the level of its own test, is. The reverse does not hold, since a limit remembers
    the best that the evidence ever was.
    """
    return paired.compare(gains, claimed).lower / claimed


def _volume(losses: Iterable[Loss | None], objectives: Sequence[Objective]) -> float:
    reference: Loss = tuple(axis.loss(axis.worst) for axis in objectives)
    return pareto.hypervolume([loss for loss in losses if loss is not None], reference)


def _points(verdict: Verdict) -> list[Point]:
    return [point for point in verdict.points if verdict.valid and not point.family]


def _by_label(points: Iterable[Point], objectives: Sequence[Objective]) -> dict[str, Loss | None]:
    return {point.label: loss_of(point.model_extra or {}, objectives) for point in points}
