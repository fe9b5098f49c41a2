"""What every page says of its run, and how a candidate is named anywhere."""

from __future__ import annotations

from typing import Any

from vevolve.archive.summaries import Summary
from vevolve.archive.web.sight import Sight

SHORT = 10
"""Characters of an id that are shown."""


def facts(sight: Sight) -> dict[str, Any]:
    """The run itself."""
    started = sight.archive.started
    return {
        "run": sight.name,
        "head": sight.head,
        "state": sight.state,
        "reason": sight.reason,
        "problem": started.problem,
        "problem_hash": started.problem_hash,
        "seed": started.seed,
        "version": started.version,
        "models": sight.config.get("models") or [],
        "level": started.containment.level,
        "objectives": [axis.model_dump() for axis in sight.archive.objectives],
    }


def brief(sight: Sight, id: str) -> dict[str, Any]:
    """A candidate in a line; one that the run does not hold has no iteration."""
    one = sight.all.get(id)
    if one is None:
        unknown = {"iteration": None, "idea": "", "status": "", "valid": False, "elite": None}
        return {"id": id, "short": id[:SHORT], **unknown}
    return {
        "id": id,
        "short": id[:SHORT],
        "iteration": one.iteration,
        "operation": one.operation,
        "proposer": one.proposer,
        "status": one.status,
        "valid": one.valid,
        "promoted": one.promoted,
        "reference": one.reference,
        "gain": one.hypervolume_gain,
        "idea": sight.idea(one),
        "certified": id in sight.certified(),
        "elite": sight.elites.place(one),
        "pinned": id in sight.notes and sight.notes[id].pinned,
    }


def origin(one: Summary) -> str:
    """Where a candidate comes from, by which plots shape it."""
    return "reference" if one.reference else "seed" if one.operation == "seed" else "evolved"
