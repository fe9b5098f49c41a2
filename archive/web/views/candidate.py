"""One candidate with all that is known of it, and two beside each other."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vevolve.archive import idea
from vevolve.archive.record import Record
from vevolve.archive.web import programs
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views.breakdown import breakdown
from vevolve.archive.web.views.brief import SHORT, brief, facts
from vevolve.archive.web.views.certified import attempts
from vevolve.archive.web.views.compared import comparison
from vevolve.errors import BadInput
from vevolve.types import Bound, Point, Verdict


def candidate(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """Everything about the candidate that `id` names, against its parent or (`against=seed`, `against=ID`) another."""
    archive = sight.archive
    record = archive.record(query.get("id", ""))
    against = query.get("against", "")
    base = _base(sight, record, against)
    order = list(sight.all)
    at = order.index(record.id)
    said = sight.notes.get(record.id)
    exchanges = [] if record.operation == "seed" else archive.proposed(record.iteration)
    ranks = {split: sight.ranking(split).ranks().get(record.id) for split in ("search", "select")}
    ancestors = archive.ancestors(record.id)
    whole = query.get("context") == "all"
    return {
        **facts(sight),
        "candidate": brief(sight, record.id),
        "id": record.id,
        "told": record.time,
        "tree_hash": record.tree_hash,
        "params": None if record.params is None else len(record.params),
        "parents": [brief(sight, id) for id in record.parents],
        "ranks": ranks,
        "notes": {"pinned": bool(said and said.pinned), "texts": list(said.texts) if said else []},
        "previous": order[at - 1] if at else None,
        "next": order[at + 1] if at + 1 < len(order) else None,
        "against": against if against else "parent",
        "base": None if base is None else brief(sight, base.id),
        "source": record.source,
        "code": programs.lines(record.source),
        "diff": None if base is None else programs.difference(base.source, record.source, None if whole else 3),
        "context": "all" if whole else "near",
        "tree_idea": "" if base is None else idea.difference(base.source, record.source),
        "points": points(record.points, base.points if base else (), sight),
        "certified": sorted(sight.certified().get(record.id, ())),
        "verdicts": [
            {"split": split, **_verdict(found)}
            for split, found in (("search", record.verdict), ("select", record.selected))
            if found is not None
        ],
        "attempts": attempts(sight, record.id),
        "comparison": comparison(sight, record.id),
        "exchanges": [one.model_dump(exclude={"kind"}) for one in exchanges],
        "ancestors": [brief(sight, one.id) for one in ancestors],
        "children": [brief(sight, id) for id, one in sight.all.items() if record.id in one.parents][:50],
        "commands": commands(sight, record),
    }


def compare(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """Two candidates, `a` (the older, by habit) and `b`: diff, points and cases; `only=1` leaves out what is equal."""
    a, b = query.get("a", ""), query.get("b", "")
    if not a and not b:
        front = list(sight.ranking(sight.split).worth)[:1]
        seeds = [one.id for one in sight.seeds()[:1]]
        a, b = (seeds or list(sight.all)[:1] or [""])[0], (front or list(sight.all)[-1:] or [""])[0]
    if not a or not b:
        raise BadInput("Two candidates are compared: name them as ?a=ID&b=ID.")
    one, two = sight.archive.record(a), sight.archive.record(b)
    only = bool(query.get("only"))
    rows = points(two.points, one.points, sight)
    tables = [
        _joined(left, right) for left, right in _pairs(breakdown(one.verdict.report), breakdown(two.verdict.report))
    ]
    if only:
        rows = [row for row in rows if any(cell["change"] for cell in row["cells"])]
        tables = [{**table, "rows": [row for row in table["rows"] if row["differs"]]} for table in tables]
    return {
        **facts(sight),
        "a": brief(sight, one.id),
        "b": brief(sight, two.id),
        "only": only,
        "idea": idea.difference(one.source, two.source),
        "points": rows,
        "diff": programs.difference(one.source, two.source, 3),
        "same": one.source == two.source,
        "tables": [table for table in tables if table["rows"]],
    }


def points(found: Sequence[Point], before: Sequence[Point], sight: Sight) -> list[dict[str, Any]]:
    """Rows of operating points, each objective beside what it was where the same question was asked before."""
    earlier = {(point.split, point.family, point.label): point.model_extra or {} for point in before}
    names = {axis.name for axis in sight.archive.objectives}
    rows: list[dict[str, Any]] = []
    for point in found:
        figures = point.model_extra or {}
        old = earlier.get((point.split, point.family, point.label), {})
        cells: list[dict[str, Any]] = []
        for axis in sight.archive.objectives:
            value, was = figures.get(axis.name), old.get(axis.name)
            change: float | None = None
            better: bool | None = None
            if isinstance(value, int | float) and isinstance(was, int | float):
                change = value / was - 1 if was else None
                better = None if value == was else (value < was) == (axis.direction == "min")
            cells.append({"name": axis.name, "value": value, "was": was, "change": change, "better": better})
        rows.append(
            {
                "split": point.split,
                "family": point.family,
                "label": point.label,
                "cells": cells,
                "compared": any(cell["was"] is not None for cell in cells),
                "more": {key: value for key, value in figures.items() if key not in names},
            }
        )
    return rows


def commands(sight: Sight, record: Record) -> list[dict[str, str]]:
    """What to type to get at this candidate again."""
    short, run = record.id[:SHORT], str(sight.archive.path.parent)
    file = f"{short}.py"
    return [
        {
            "what": "take the program away",
            "text": shlex.join(["vevolve", "export", short, "--run", run, "--out", file]),
        },
        {
            "what": "judge it again in the sandbox",
            "text": shlex.join(["vevolve", "eval", file, "--problem", sight.archive.started.problem]),
        },
        {"what": "see it in a terminal", "text": shlex.join(["vevolve", "show", short, "--run", run, "--prompt"])},
        {"what": "keep it in sight", "text": shlex.join(["vevolve", "pin", short, "--run", run])},
    ]


def sentence(bound: Bound) -> str:
    """A bound in words. It is replay: what recorded documents show is neither proved nor certified."""
    shown = "not shown on replay" if bound.upper > bound.delta else "holds on replay"
    return (
        f"Error above {bound.epsilon:g} in {bound.rate:.2%} of units on {bound.split}, all heads pooled, promised in "
        f"at most {bound.delta:.0%}: {'broken' if bound.rate > bound.delta else shown}. At most {bound.upper:.2%} with "
        f"{bound.confidence:.0%} confidence over {bound.documents} document{'' if bound.documents == 1 else 's'}."
    )


def _verdict(found: Verdict) -> dict[str, Any]:
    tables = breakdown(found.report)
    return {
        "valid": found.valid,
        "status": found.status,
        "stage": found.stage,
        "feedback": found.feedback,
        "bounds": [
            {
                "text": sentence(bound),
                "state": "broken" if bound.rate > bound.delta else "open" if bound.upper > bound.delta else "held",
            }
            for bound in found.bounds
        ],
        "tables": tables,
        "opened": _opened(tables),
        "cost": found.cost.model_dump(),
        "level": found.containment.level if found.containment else None,
        "layers": dict(found.containment.layers) if found.containment else {},
        "problem": found.problem,
    }


def _opened(tables: Sequence[dict[str, Any]]) -> int | None:
    """The table that says most at a glance: by layer, else the first of several rows."""
    several = [at for at, table in enumerate(tables) if len(table["rows"]) > 2]
    by_layer = [at for at in several if str(tables[at]["title"]).endswith("layers")]
    return next(iter([*by_layer, *several]), None)


def _base(sight: Sight, record: Record, against: str) -> Record | None:
    """What a candidate is shown against: its first parent, the seed, or the one named."""
    if against in ("", "parent"):
        known = [id for id in record.parents if id in sight.all]
        return sight.archive.record(known[0]) if known else None
    if against == "seed":
        seeds = [one.id for one in sight.seeds()]
        return sight.archive.record(seeds[0]) if seeds and seeds[0] != record.id else None
    return sight.archive.record(against)


def _pairs(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    by_title = {table["title"]: table for table in one}
    return [(by_title[table["title"]], table) for table in two if table["title"] in by_title]


def _joined(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Two tables of the same cases as one: a row has the cells of both, and whether they differ."""
    header = [name for name in two["header"] if name in one["header"]]
    places = [(one["header"].index(name), two["header"].index(name)) for name in header]
    rows = [
        {
            "cells": [[left[a]["text"], right[b]["text"]] for a, b in places],
            "differs": any(left[a]["text"] != right[b]["text"] for a, b in places),
        }
        for left, right in zip(one["rows"], two["rows"], strict=False)
    ]
    return {"title": two["title"], "header": header, "rows": rows}
