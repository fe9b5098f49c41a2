"""What a run has won over its seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vevolve.archive.record import Record
from vevolve.archive.store import Archive
from vevolve.archive.summaries import Spot, Summary
from vevolve.types import Objective, Point

SHARE = 0.05
"""The least gain in one objective that counts."""
NOTICEABLE = 0.001
"""The least gain that is shown: below it, digits agree in most tables."""
NOTHING = f"Nothing beats the seed by {100 * NOTICEABLE:g} % yet without being worse in something."


@dataclass(frozen=True)
class Improvement:
    """An operating point that is clearly better than one of the seed's in one objective and worse in none.

    Attributes:
        candidate: whose point it is.
        point: the better one.
        over: the seed's.
        objective: in which it is better.
        share: by how much, of the seed's value: .05 is 5 % less (or more, where more is better).
    """

    candidate: Record | Summary
    point: Point | Spot
    over: Point | Spot
    objective: str
    share: float

    def __str__(self) -> str:
        """One sentence."""
        before, after = self.over[self.objective], self.point[self.objective]
        place, there = self.point.label or "its point", self.over.label or "its point"
        return (
            f"{self.candidate.id[:8]} at {place}: {self.objective} {before:.4g} -> {after:.4g} "
            f"({100 * self.share:.3g}% better) and worse in nothing than the seed at {there}"
        )


def improvements(archive: Archive, split: str = "select", share: float = SHARE) -> list[Improvement]:
    """For each operating point of the seed and each objective, the greatest gain of an evolved candidate.

    Only gains of at least `share`, in the order of the seed's points. Points of the front suffice: what beats the
    seed's is there, or something that is at least as good in everything. Objectives are compared as they were
    measured, not on their axes.
    """
    seeds = [point for record in archive.records(operation="seed") for point in record.points_on(split)]
    return greatest(seeds, archive.front_points(split), archive.objectives, share)


def greatest(
    seeds: Iterable[Point | Spot],
    front: Iterable[tuple[Record | Summary, Point | Spot]],
    objectives: Sequence[Objective],
    share: float = SHARE,
) -> list[Improvement]:
    """As `improvements`, for whoever has the seed's points and those of the front already."""
    evolved = [(owner, point) for owner, point in front if owner.operation != "seed"]
    found: list[Improvement] = []
    for over in seeds:
        gains = [gain for owner, point in evolved for gain in _gains(owner, point, over, objectives)]
        for objective in objectives:
            own = [gain for gain in gains if gain.objective == objective.name and gain.share >= share]
            found += [max(own, key=lambda gain: gain.share)] if own else []
    return found


def _gains(
    owner: Record | Summary, point: Point | Spot, over: Point | Spot, objectives: Sequence[Objective]
) -> list[Improvement]:
    """The gain in each objective; none where one is worse, or is not there."""
    shares: dict[str, float] = {}
    for objective in objectives:
        try:
            before, after = over[objective.name], point[objective.name]
        except KeyError:
            return []
        better = before - after if objective.direction == "min" else after - before
        if better < 0:
            return []
        shares[objective.name] = better / abs(before) if before else 0.0
    return [Improvement(owner, point, over, name, share) for name, share in shares.items()]
