"""Who came from whom: x is the order of evaluation, a branch that led nowhere is folded into a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from vevolve.archive.summaries import Summary
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views.brief import brief, facts, origin
from vevolve.archive.web.views.table import split_and_family

MOST = 600
"""Candidates that are drawn; of more, those that gained least are folded too."""
ROOM = 0.035
"""Of the width: the least distance to the next candidate of a lane that leaves room for a number."""
CROWD = 240
"""Candidates from which on the steps on the way, which added nothing and lead to one child, become part of a line."""


def lineage(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """The candidates that matter with their places, and the story of one on the front.

    Kept are the ancestors of the front and of elites, and whatever added hypervolume; `all=1` keeps every valid one. A
    node has `x` (0 to 1, order of evaluation) and `lane`; `folded` counts the children that are not shown, valid and
    not, and an edge's `between` the steps that were left out of it. `story` is the line of `of` (by default the
    candidate that the front would miss most), oldest first.
    """
    split, _ = split_and_family(sight, query)
    front = set(sight.ranking(split).worth)
    elites = {one.candidate for one in sight.elites.standing}
    kept = _kept(sight, front | elites, bool(query.get("all")))
    line = story(sight, query.get("of", ""), split)
    ends = {line["steps"][-1]["id"]} if line["steps"] else set[str]()
    passed = _passed(sight, kept, front | elites | ends) if len(kept) > CROWD else set[str]()
    shown = [one for one in sight.all.values() if one.id in kept and one.id not in passed]
    above = {one.id: _above(sight, one, kept, passed) for one in shown}
    first, last = min((one.iteration for one in shown), default=0), max((one.iteration for one in shown), default=1)
    lanes = _lanes(shown, {id: parent for id, (parent, _) in above.items()}, front)
    folded: dict[str, list[int]] = {}
    for one in sight.all.values():
        if one.id not in kept:
            parent, _ = _above(sight, one, kept, passed)
            folded.setdefault(parent, [0, 0])[not one.valid] += 1
    place = {one.id: (one.iteration - first) / max(1, last - first) for one in shown}
    roomy = _roomy(shown, place, lanes)
    nodes = [
        {
            **brief(sight, one.id),
            "x": place[one.id],
            "lane": lanes[one.id],
            "roomy": one.id in roomy,
            "front": one.id in front,
            "origin": origin(one),
            "folded": folded.get(one.id, [0, 0]),
        }
        for one in shown
    ]
    edges = [
        {"from": parent, "to": id, "first": True, "between": between}
        for id, (parent, between) in above.items()
        if parent in above
    ]
    edges += [
        {"from": donor, "to": one.id, "first": False, "between": 0}
        for one in shown
        for donor in one.parents[1:]
        if donor in above
    ]
    return {
        **facts(sight),
        "split": split,
        "all": bool(query.get("all")),
        "total": len(sight.all),
        "first": first,
        "last": last,
        "lanes": max(lanes.values(), default=-1) + 1,
        "passed": len(passed),
        "nodes": nodes,
        "edges": edges,
        "story": line,
        "front": [brief(sight, id) for id in list(sight.ranking(split).worth)[:12]],
    }


def _roomy(shown: list[Summary], place: Mapping[str, float], lanes: Mapping[str, int]) -> set[str]:
    """The candidates beside which there is room for a number."""
    after: dict[int, float] = {}
    found: set[str] = set()
    for one in sorted(shown, key=lambda one: -place[one.id]):
        if after.get(lanes[one.id], 2.0) - place[one.id] > ROOM:
            found.add(one.id)
        after[lanes[one.id]] = place[one.id]
    return found


def story(sight: Sight, of: str, split: str) -> dict[str, Any]:
    """The line of first parents of a candidate, oldest first, as a lab notebook reads."""
    best = [id for id in sight.ranking(split).worth if sight.all[id].operation != "seed"]
    if not of and not best:
        return {"of": None, "steps": []}
    last = sight.archive.record(of or best[0])
    line = [*reversed(sight.archive.ancestors(last.id)), last]
    return {"of": brief(sight, last.id), "steps": [brief(sight, record.id) for record in line]}


def _kept(sight: Sight, best: set[str], everything: bool) -> set[str]:
    wanted = sorted(
        (
            one
            for one in sight.all.values()
            if one.operation == "seed" or one.hypervolume_gain > 0 or (everything and one.valid)
        ),
        key=lambda one: (one.operation != "seed", -one.hypervolume_gain, one.seq),
    )[:MOST]
    pending = [*best, *(one.id for one in wanted)]
    kept: set[str] = set()
    while pending:
        id = pending.pop()
        if id in kept or id not in sight.all:
            continue
        kept.add(id)
        pending += sight.all[id].parents[:1]
    return kept


def _passed(sight: Sight, kept: set[str], wanted: set[str]) -> set[str]:
    """Those that only lie on the way: no seed, none that added hypervolume, and none where the way forks."""
    ways = Counter(_parent(sight, sight.all[id]) for id in kept)
    return {
        id
        for id in kept - wanted
        if ways[id] == 1 and sight.all[id].operation != "seed" and not sight.all[id].hypervolume_gain > 0
    }


def _above(sight: Sight, one: Summary, kept: set[str], passed: set[str]) -> tuple[str, int]:
    """The nearest ancestor that is shown ("" where there is none), and how many that are not lie between."""
    id, between = _parent(sight, one), 0
    while id in passed:
        id, between = _parent(sight, sight.all[id]), between + 1
    return (id if id in kept else ""), between


def _parent(sight: Sight, one: Summary) -> str:
    """The first parent that was told earlier: a program that is told anew may have a descendant for a parent."""
    id = next(iter(one.parents), "")
    return id if id in sight.all and sight.all[id].seq < one.seq else ""


def _lanes(shown: list[Summary], above: Mapping[str, str], front: set[str]) -> dict[str, int]:
    """A child goes on in its parent's lane where that is free, else in the nearest lane that is free from there on.

    Among siblings, the one whose descendants reach the front goes straight on.
    """
    children: dict[str, list[Summary]] = {}
    for one in shown:
        children.setdefault(above[one.id], []).append(one)
    leads = set(front)
    for one in reversed(shown):
        if one.id in leads:
            leads.add(above[one.id])
    made = {one.id: one.iteration for one in shown}
    lanes: dict[str, int] = {}
    ends: list[int] = []  # lane -> the iteration up to which it is taken
    pending = sorted(children.get("", []), key=lambda one: -one.seq)
    while pending:
        one = pending.pop()
        parent = above[one.id] if above[one.id] in lanes else None
        start = made[parent] if parent else -1
        near = lanes[parent] if parent else 0
        free = [lane for lane, end in enumerate(ends) if end <= start]
        lane = min(free, key=lambda lane: abs(lane - near)) if free else len(ends)
        if lane == len(ends):
            ends.append(-1)
        lanes[one.id] = lane
        ends[lane] = max(ends[lane], one.iteration)
        below = sorted(children.get(one.id, []), key=lambda child: (child.id not in leads, child.seq), reverse=True)
        pending += below
    return lanes
