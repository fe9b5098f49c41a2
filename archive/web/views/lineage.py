"""Who came from whom: x is the order of evaluation, a branch that led nowhere is folded into a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vevolve.archive import certificates
from vevolve.archive.summaries import Summary
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views.brief import brief, facts, origin
from vevolve.archive.web.views.table import split_and_family

MOST = 600
"""Candidates that are drawn; of more, those that gained least are folded too."""


def lineage(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """The candidates that matter with their places, and the story of one on the front.

    Kept are the ancestors of the front and whatever added hypervolume; `all=1` keeps every valid one. A node has `x`
    (0 to 1, order of evaluation) and `lane`; `folded` counts the children that are not shown. `story` is the line of
    `of` (by default the candidate that the front would miss most), oldest first.
    """
    split, _ = split_and_family(sight, query)
    ranks = sight.ranks(split)
    front = {id for id, rank in ranks.items() if rank == 1}
    kept = _kept(sight, front, bool(query.get("all")))
    shown = [one for one in sight.all.values() if one.id in kept]
    first, last = min((one.iteration for one in shown), default=0), max((one.iteration for one in shown), default=1)
    lanes = _lanes(shown, kept, front)
    folded: dict[str, list[int]] = {}
    for one in sight.all.values():
        if one.id not in kept and one.parents:
            count = folded.setdefault(one.parents[0], [0, 0])
            count[not one.valid] += 1
    certified = certificates.issued(sight.archive)
    nodes = [
        {
            **brief(sight, one.id),
            "x": (one.iteration - first) / max(1, last - first),
            "lane": lanes[one.id],
            "front": one.id in front,
            "certified": one.id in certified,
            "origin": origin(one),
            "folded": folded.get(one.id, [0, 0]),
        }
        for one in shown
    ]
    edges = [
        {"from": parent, "to": one.id, "first": place == 0}
        for one in shown
        for place, parent in enumerate(one.parents)
        if parent in kept
    ]
    return {
        **facts(sight),
        "split": split,
        "all": bool(query.get("all")),
        "total": len(sight.all),
        "first": first,
        "last": last,
        "lanes": max(lanes.values(), default=-1) + 1,
        "nodes": nodes,
        "edges": edges,
        "story": story(sight, query.get("of", ""), split),
        "front": [brief(sight, record.id) for record in sight.archive.front(split)][:12],
    }


def story(sight: Sight, of: str, split: str) -> dict[str, Any]:
    """The line of first parents of a candidate, oldest first, as a lab notebook reads."""
    best = [record.id for record in sight.archive.front(split) if record.operation != "seed"]
    if not of and not best:
        return {"of": None, "steps": []}
    last = sight.archive.record(of or best[0])
    line = [*reversed(sight.archive.ancestors(last.id)), last]
    return {"of": brief(sight, last.id), "steps": [brief(sight, record.id) for record in line]}


def _kept(sight: Sight, front: set[str], everything: bool) -> set[str]:
    wanted = sorted(
        (
            one
            for one in sight.all.values()
            if one.operation == "seed" or one.hypervolume_gain > 0 or (everything and one.valid)
        ),
        key=lambda one: (one.operation != "seed", -one.hypervolume_gain, one.seq),
    )[:MOST]
    pending = [*front, *(one.id for one in wanted)]
    kept: set[str] = set()
    while pending:
        id = pending.pop()
        if id in kept or id not in sight.all:
            continue
        kept.add(id)
        pending += sight.all[id].parents[:1]
    return kept


def _lanes(shown: list[Summary], kept: set[str], front: set[str]) -> dict[str, int]:
    """A child goes on in its parent's lane where that is free, else in the nearest lane that is free from there on.

    Among siblings, the one whose descendants reach the front goes straight on.
    """
    children: dict[str, list[Summary]] = {}
    for one in shown:
        root = next((id for id in one.parents[:1] if id in kept), "")
        children.setdefault(root, []).append(one)
    leads = set(front)
    for one in reversed(shown):
        if one.id in leads and one.parents:
            leads.add(one.parents[0])
    made = {one.id: one.iteration for one in shown}
    lanes: dict[str, int] = {}
    ends: list[int] = []  # lane -> the iteration up to which it is taken
    pending = sorted(children.get("", []), key=lambda one: -one.seq)
    while pending:
        one = pending.pop()
        parent = next((id for id in one.parents[:1] if id in lanes), None)
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
