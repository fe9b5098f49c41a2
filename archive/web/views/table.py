"""Candidates by search, facets, order and a brushed part of the plot; and the points of that plot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from vevolve.archive.summaries import Spot, Summary
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views.brief import brief, facts, origin

PAGE = 100
"""Rows of a page."""
Facet: TypeAlias = Callable[[Summary], str]
FACETS: dict[str, Facet] = {
    "status": lambda one: one.status,
    "operation": lambda one: one.operation,
    "proposer": lambda one: one.proposer,
}
"""Besides these, what fresh documents said of a candidate, in a run that compares."""


def table(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of the candidates that a query chooses, and how many every facet has."""
    split, family = split_and_family(sight, query)
    ranks = sight.ranking(split).ranks()
    found = _searched(sight, query.get("q", "").strip())
    if query.get("pinned"):
        found = [one for one in found if one.id in sight.notes]
    if query.get("certified"):
        found = [one for one in found if one.id in sight.certified()]
    if query.get("front"):
        found = [one for one in found if ranks.get(one.id) == 1]
    box = brush(query)
    x, y = axes(sight, query)
    if box:
        found = [one for one in found if any(_inside(spot, split, family, x, y, box) for spot in one.spots)]
    keys = _facets(sight)
    chosen = {key: query[name] for name, key in keys.items() if query.get(name)}
    facets = {
        name: _counts(key, (one for one in found if _fits(one, chosen, but=key)) if chosen else found)
        for name, key in keys.items()
    }
    if chosen:
        found = [one for one in found if _fits(one, chosen)]
    order = query.get("sort", "")
    if order.lstrip("-") not in sortable(sight):
        order = "-iteration"
    found = _sorted(sight, found, order, split, family, ranks)
    page = max(1, _whole(query.get("page", ""), 1))
    rows = [_row(sight, one, split, family, ranks) for one in found[(page - 1) * PAGE : page * PAGE]]
    return {
        **facts(sight),
        "split": split,
        "family": family,
        "families": sight.families(),
        "query": {key: value for key, value in query.items() if value},
        "total": len(sight.all),
        "found": len(found),
        "page": page,
        "pages": max(1, math.ceil(len(found) / PAGE)),
        "sort": order,
        "facets": facets,
        "any_certified": bool(sight.certified()),
        "brush": box,
        "x": x,
        "y": y,
        "axes": axis_names(sight),
        "rows": rows,
    }


def listing(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """The table by itself: on `search` unless asked otherwise, since every valid candidate has points there."""
    return table(sight, {"split": "search", **query})


def points(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """The points of a plot as columns, so that tens of thousands stay small."""
    split, family = split_and_family(sight, query)
    x, y = axes(sight, query)
    names = list(dict.fromkeys([x, y, *(axis.name for axis in sight.archive.objectives)]))
    certified, elites = sight.certified(), {one.candidate: set(one.claims) for one in sight.elites.standing}
    sealed: list[int] = []
    better: list[int] = []
    places: dict[int, str] = {}
    best = set(sight.ranking(split, family).front)
    labels: dict[str, int] = {}
    candidates: list[list[Any]] = []
    owner: list[int] = []
    label: list[int] = []
    front: list[int] = []
    columns: dict[str, list[float]] = {name: [] for name in names}
    for one in sight.all.values():
        first = True
        for spot in one.spots:
            if spot.split != split or spot.family != family:
                continue
            values = [spot.figures.get(name) for name in names]
            if not all(isinstance(value, int | float) for value in values):
                continue
            if first:
                kind = origin(one)
                text = one.idea or ("the seed" if kind == "seed" else "")
                if place := sight.elites.place(one):
                    places[len(candidates)] = place
                candidates.append([one.id[:16], one.iteration, kind[0], text[:120]])
                first = False
            if spot.loss in best and not one.reference:
                front.append(len(owner))
            if one.id in certified and spot.label in certified[one.id]:
                sealed.append(len(owner))
            if one.id in elites and spot.label in elites[one.id]:
                better.append(len(owner))
            owner.append(len(candidates) - 1)
            label.append(labels.setdefault(spot.label, len(labels)))
            for name, value in zip(names, values, strict=True):
                columns[name].append(float(f"{value:.6g}"))
    known = {axis.name: axis.model_dump() for axis in sight.archive.objectives}
    return {
        "run": sight.name,
        "head": sight.head,
        "split": split,
        "family": family,
        "x": x,
        "y": y,
        "objectives": list(known),
        "axes": {
            name: known.get(name, {"name": name, "direction": "", "unit": "", "scale": "linear"}) for name in names
        },
        "labels": list(labels),
        "candidates": candidates,
        "owner": owner,
        "label": label,
        "columns": columns,
        "front": front,
        "certified": sealed,
        "elites": better,
        "places": places,
    }


def split_and_family(sight: Sight, query: Mapping[str, str]) -> tuple[str, str]:
    """The split and family asked for; the split that says most, and the main family, by default."""
    wanted = query.get("split", "")
    split = wanted if wanted in ("search", "select", "sealed") else sight.split
    family = query.get("family", "")
    return split, family if family in sight.families() else ""


def axes(sight: Sight, query: Mapping[str, str]) -> tuple[str, str]:
    """What stands on x and y: by default the first two objectives, or the only one over iterations."""
    names = axis_names(sight)
    default = [axis.name for axis in sight.archive.objectives][:2]
    if len(default) == 1:
        default = ["iteration", *default]
    x, y = (query.get(name, "") for name in ("x", "y"))
    return (x if x in names else default[0]), (y if y in names else default[1])


def axis_names(sight: Sight) -> list[str]:
    """What can stand on an axis: the objectives, then every other figure that the seed's points have."""
    names = [axis.name for axis in sight.archive.objectives]
    for one in sight.all.values():
        for spot in one.spots[:1]:
            names += [key for key, value in sorted(spot.figures.items()) if isinstance(value, int | float)]
        if one.spots:
            break
    return list(dict.fromkeys([*names, "iteration"]))


def brush(query: Mapping[str, str]) -> list[float] | None:
    """x0, x1, y0, y1 of a brushed part, in the figures' own units."""
    try:
        found = [float(query[name]) for name in ("x0", "x1", "y0", "y1")]
    except (KeyError, ValueError):
        return None
    return found if all(map(math.isfinite, found)) else None


def _searched(sight: Sight, text: str) -> list[Summary]:
    everything = list(sight.all.values())
    if not text:
        return everything
    if text.lower().startswith("code:"):
        ids = sight.archive.containing(text[5:].strip()) if text[5:].strip() else set[str]()
        return [one for one in everything if one.id in ids]
    words = text.lower().split()
    return [one for one in everything if _says(one, _text(sight, one), words)]


def _says(one: Summary, text: str, words: list[str]) -> bool:
    """Whether every word stands in what is said of a candidate, or begins its id."""
    return all(word in text or one.id.startswith(word) for word in words)


def _text(sight: Sight, one: Summary) -> str:
    said = " ".join(text for _, text in sight.notes[one.id].texts) if one.id in sight.notes else ""
    return f"#{one.iteration} {one.idea} {one.first_error_line} {one.proposer} {one.operation} {said}".lower()


def _inside(spot: Spot, split: str, family: str, x: str, y: str, box: list[float]) -> bool:
    if spot.split != split or spot.family != family:
        return False
    at, up = spot.figures.get(x), spot.figures.get(y)
    return (
        isinstance(at, int | float)
        and isinstance(up, int | float)
        and min(box[:2]) <= at <= max(box[:2])
        and min(box[2:]) <= up <= max(box[2:])
    )


def _facets(sight: Sight) -> dict[str, Facet]:
    """Name -> what a candidate has of it; nothing where it does not apply."""
    return {**FACETS, "elite": lambda one: sight.elites.place(one) or ""} if sight.elites.compares else FACETS


def _fits(one: Summary, chosen: Mapping[Facet, str], but: Facet | None = None) -> bool:
    return all(key is but or key(one) == wanted for key, wanted in chosen.items())


def _counts(key: Facet, found: Iterable[Summary]) -> list[list[Any]]:
    counts = Counter(map(key, found))
    return [[name, count] for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])) if name]


def _sorted(
    sight: Sight, found: list[Summary], order: str, split: str, family: str, ranks: Mapping[str, int]
) -> list[Summary]:
    name, down = order.lstrip("-"), order.startswith("-")
    far = math.inf
    keys: dict[str, Callable[[Summary], Any]] = {
        "iteration": lambda one: one.iteration,
        "gain": lambda one: one.hypervolume_gain,
        "rank": lambda one: ranks.get(one.id, far),
        "status": lambda one: one.status,
        "proposer": lambda one: one.proposer,
    }
    direction = {axis.name: axis.direction for axis in sight.archive.objectives}
    if name in direction:
        sign = 1 if direction[name] == "min" else -1

        def best(one: Summary) -> float:
            value = best_of(one, name, direction[name], split, family)
            return far if value is None else sign * value

        return sorted(found, key=best, reverse=down)
    return sorted(found, key=keys.get(name, keys["iteration"]), reverse=down)


def sortable(sight: Sight) -> set[str]:
    """By what a table can be sorted."""
    return {"iteration", "gain", "rank", "status", "proposer", *(axis.name for axis in sight.archive.objectives)}


def best_of(one: Summary, name: str, direction: str, split: str, family: str) -> float | None:
    """The best value of an objective among a candidate's points."""
    values = [
        spot.figures[name]
        for spot in one.spots
        if spot.split == split and spot.family == family and isinstance(spot.figures.get(name), int | float)
    ]
    return None if not values else min(values) if direction == "min" else max(values)


def _row(sight: Sight, one: Summary, split: str, family: str, ranks: Mapping[str, int]) -> dict[str, Any]:
    said = brief(sight, one.id)
    return {
        **said,
        "parent": one.parents[0] if one.parents else None,
        "rank": ranks.get(one.id),
        "error": one.first_error_line,
        "points": sum(spot.split == split and spot.family == family for spot in one.spots),
        "best": {
            axis.name: best_of(one, axis.name, axis.direction, split, family) for axis in sight.archive.objectives
        },
    }


def _whole(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else default
