"""What is known without any run: the leaderboard, and what a plot draws beside a run's own points."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vevolve.archive.web.published import Known, Shelf
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views.table import axes, split_and_family


def board(shelf: Shelf) -> dict[str, Any]:
    """Every method of every problem."""
    return {"sections": [dataclasses.asdict(section) for section in shelf.board()]}


def beside(sight: Sight, query: Mapping[str, str], known: Known | None) -> dict[str, Any]:
    """Published methods and figures that can be held against a run's points on the axes of a plot.

    A method is drawn where it was measured: on the same version of the problem, split and family. One that the run
    began with has points of its own there. Figures of the literature were measured elsewhere, so that they stand on
    the single axis that a problem has, never between two.
    """
    split, family = split_and_family(sight, query)
    x, y = axes(sight, query)
    names = list(dict.fromkeys([x, y, *(axis.name for axis in sight.archive.objectives)]))
    found: dict[str, Any] = {"run": sight.name, "split": split, "methods": [], "figures": [], "note": ""}
    if known is None:
        return found
    alone = len(sight.archive.objectives) == 1 and sight.archive.objectives[0].name == y
    if alone:
        found["figures"] = [
            {"name": one.name, "value": one.values[y], "source": one.source} for one in known.figures if y in one.values
        ]
    if known.methods and known.problem_hash != sight.archive.started.problem_hash:
        found["note"] = "published methods were measured on another version of this problem, and are left out"
        return found
    here = {one.id for one in sight.all.values() for spot in one.spots if sight.ranking(split, family).has(spot)}
    for method in known.methods:
        points: list[dict[str, Any]] = []
        for point in method.points:
            figures = {name: (point.model_extra or {}).get(name) for name in names}
            whole = all(isinstance(value, int | float) for value in figures.values())
            if whole and (point.split, point.family) == (split, family):
                points.append({"label": point.label, "figures": figures})
        if points and method.id not in here:
            found["methods"].append(
                {"name": method.name, "title": method.title, "reference": method.reference, "points": points}
            )
    if known.methods and not found["methods"]:
        found["note"] = f"no published method was measured on {family or split}"
    return found
