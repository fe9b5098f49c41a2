"""The list of runs, one run at a glance, what it cost, and how it failed."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vevolve.archive.events import Compared, Ended, Event, Measured, Proposed, Resumed, Selected, Started, Told
from vevolve.archive.improvements import NOTICEABLE, greatest
from vevolve.archive.log import Entry
from vevolve.archive.summaries import Summary
from vevolve.archive.web.library import Library
from vevolve.archive.web.shown import figure
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views import compared
from vevolve.archive.web.views.brief import SHORT, brief, facts

FEED = 40
"""Events that a page begins with."""
TELLING = ("started", "resumed", "proposed", "told", "selected", "compared", "ended", "concluded")


def runs(library: Library) -> dict[str, Any]:
    """Every run, the latest first; one that cannot be read has an error in place of figures."""
    return {"root": str(library.root), "runs": [library.line(name, in_a_line) for name in library.paths()]}


def in_a_line(sight: Sight) -> dict[str, Any]:
    """A run in the list of all."""
    totals, ranking = sight.archive.totals(), sight.ranking(sight.split)
    return {
        "name": sight.name,
        "error": None,
        "problem": sight.archive.started.problem,
        "seed": sight.archive.started.seed,
        "state": sight.state,
        "evaluations": totals.evaluations,
        "budget": sight.config.get("evaluations"),
        "valid": totals.valid,
        "usd": totals.usd,
        "split": ranking.split,
        "front": len(ranking.worth),
        "hypervolume": ranking.hypervolume,
        "seed_hypervolume": ranking.hypervolume_of(sight.seeds()),
        "certificates": sum(map(len, sight.certified().values())),
        "elites": len(sight.elites.standing),
        "began": next(iter(sight.archive.events())).time,
    }


def overview(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """Counters, budget, what was won on the seed, the front, and the last events."""
    archive, split = sight.archive, _split(sight, query)
    totals, seconds = archive.totals(), archive.seconds()
    ranking, seeds, front = sight.ranking(split), sight.seeds(), sight.front_points(split)
    start = [spot for one in seeds for spot in one.spots if ranking.has(spot)]
    wins = greatest(start, front, archive.objectives, NOTICEABLE)
    budget = sight.config.get("evaluations")
    left = max(0, int(str(budget)) - totals.evaluations) if budget is not None else None
    pace = seconds / totals.evaluations if totals.evaluations else None
    certified = sight.certified()
    points: list[dict[str, Any]] = [
        {
            "candidate": brief(sight, one.id),
            "label": spot.label,
            "figures": {axis.name: spot[axis.name] for axis in archive.objectives},
            "certified": spot.label in certified.get(one.id, ()),
        }
        for one, spot in front
    ]
    base = {spot.label: spot.figures for one in seeds[:1] for spot in one.spots if ranking.has(spot)}
    for point in points:
        before = base.get(point["label"], {})
        point["against_seed"] = {name: _change(before.get(name), value) for name, value in point["figures"].items()}
    return {
        **facts(sight),
        "split": split,
        "counters": {
            "evaluations": totals.evaluations,
            "budget": budget,
            "iterations": totals.iterations,
            "valid": totals.valid,
            "failed": totals.evaluations - totals.valid,
            "front": len(ranking.worth),
            "hypervolume": ranking.hypervolume,
            "seed_hypervolume": ranking.hypervolume_of(seeds),
            "usd": totals.usd,
            "usd_budget": sight.config.get("usd"),
            "unpriced": totals.unpriced,
            "seconds": seconds,
            "seconds_left": left * pace if left and pace and sight.state == "running" else None,
            "certificates": sum(map(len, certified.values())),
            "fresh": compared.counters(sight),
        },
        "failures": totals.failures,
        "wins": [
            {
                "candidate": brief(sight, win.candidate.id),
                "objective": win.objective,
                "share": win.share,
                "direction": _direction(sight, win.objective),
                "before": win.over[win.objective],
                "after": win.point[win.objective],
                "label": win.point.label,
                "over": win.over.label,
            }
            for win in wins
        ],
        "points": points,
        "elites": compared.standing(sight),
        "feed": feed(sight, archive.head - 4 * FEED)[-FEED:],
        "command": reproduce_run(sight),
    }


def curve(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """Hypervolume over iterations, with what each step up owes to whom."""
    split = _split(sight, query)
    found = sight.ranking(split, query.get("family", "")).curve
    steps: list[dict[str, Any]] = []
    before = 0.0
    for iteration, value in found:
        if value > before and (id := sight.by_iteration.get(iteration)):
            told = sight.idea(sight.all[id])
            steps.append({"iteration": iteration, "hypervolume": value, "id": id, "idea": told})
            before = value
    last = max(sight.by_iteration, default=0)
    return {"run": sight.name, "head": sight.head, "split": split, "last": last, "steps": steps}


def feed(sight: Sight, after: int) -> list[dict[str, Any]]:
    """The events after a row of the log that say something to a reader, oldest first.

    What was written since the page caught up waits for the next look, or it would be told twice.
    """
    known = (entry for entry in sight.archive.events(max(0, after), kinds=TELLING) if entry.seq <= sight.head)
    return [line for entry in known if (line := event_line(sight, entry))]


def event_line(sight: Sight, entry: Entry) -> dict[str, Any] | None:
    """An event as a line of the feed; None for one that says nothing new."""
    said = _said(entry.event)
    if said is None:
        return None
    kind, text, id = said
    gain = entry.event.hypervolume_gain if isinstance(entry.event, Told) else 0.0
    iteration = getattr(entry.event, "iteration", None)
    if isinstance(entry.event, Told):
        id = sight.by_iteration.get(entry.event.iteration)
        text = text or (sight.idea(sight.all[id]) if id else "")
    return {
        "seq": entry.seq,
        "time": entry.time,
        "kind": kind,
        "iteration": iteration,
        "text": text,
        "id": id,
        "gain": gain,
        "gained": f"+{figure(gain)}" if gain > 0 else "",
    }


def _said(event: Event) -> tuple[str, str, str | None] | None:
    match event:
        case Started():
            return "run", f"{event.problem} from {event.seed}, sandbox level {event.containment.level}", None
        case Resumed():
            return "run", f"resumed, sandbox level {event.containment.level}", None
        case Proposed() if event.error:
            who = "" if event.proposer in event.error else f"{event.proposer}: "
            return "proposer", f"{who}{event.error}", None
        case Told():
            text = event.idea if event.verdict.valid else event.verdict.feedback.strip().split("\n")[0]
            return ("seed" if event.operation == "seed" else event.verdict.status), text[:300], None
        case Selected():
            text = "gained on the select split as well" if event.promoted else "gained nothing on the select split"
            text += f"; it meets {event.incumbent[:SHORT]} on fresh documents" if event.incumbent else ""
            return ("promoted" if event.promoted else "not promoted"), text, event.candidate
        case Compared():
            return *compared.told(event), event.candidate
        case Measured():
            return ("timed" if event.points else "not timed"), event.feedback[:300], event.candidate
        case Ended():
            return "ended", event.reason, None
        case _ if event.kind == "concluded":
            return ("certified" if event.issued else "not certified"), event.reason, event.candidate
        case _:
            return None


def failures(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """Candidates that were not valid, grouped by status and by the first line of what was told them.

    Lines that differ in their numbers alone are one group; the numbers that differ stand as `…` in its line.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[Summary]] = {}
    for one in sight.all.values():
        if not one.valid:
            groups.setdefault((one.status, tuple(_NUMBER.split(one.first_error_line))), []).append(one)
    found: list[dict[str, Any]] = [
        {
            "status": status,
            "line": _shared([one.first_error_line for one in members]),
            "count": len(members),
            "candidates": [brief(sight, one.id) for one in members[-6:][::-1]],
        }
        for (status, _), members in groups.items()
    ]
    found.sort(key=lambda group: (-group["count"], group["status"], group["line"]))
    by_status: dict[str, int] = {}
    for group in found:
        by_status[group["status"]] = by_status.get(group["status"], 0) + group["count"]
    return {
        **facts(sight),
        "total": len(sight.all),
        "failed": sum(by_status.values()),
        "by_status": dict(sorted(by_status.items(), key=lambda pair: -pair[1])),
        "groups": found,
    }


_NUMBER = re.compile(r"(?<![A-Za-z_])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def _shared(lines: Sequence[str]) -> str:
    """One line for lines that differ in their numbers at most."""
    words = _NUMBER.split(lines[0])
    numbers = zip(*(_NUMBER.findall(line) for line in lines), strict=True)
    kept = [same[0] if len(set(same)) == 1 else "…" for same in numbers]
    return "".join(map("".join, itertools.zip_longest(words, kept, fillvalue="")))


def costs(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """Dollars and tokens by model, what a unit of hypervolume cost, and where the seconds went."""
    totals = sight.archive.totals()
    gained: dict[str, float] = {}
    for one in sight.all.values():
        if one.operation != "seed":
            gained[one.proposer] = gained.get(one.proposer, 0.0) + one.hypervolume_gain
    rows: list[dict[str, Any]] = []
    for name, share in totals.by_proposer.items():
        gain = gained.get(name, 0.0)
        rows.append(
            {"proposer": name, **share.model_dump(), "gain": gain, "usd_per_gain": share.usd / gain if gain else None}
        )
    total_gain = sum(gained.values())
    return {
        **facts(sight),
        "rows": rows,
        "totals": {
            "usd": totals.usd,
            "unpriced": totals.unpriced,
            "input_tokens": totals.input_tokens,
            "output_tokens": totals.output_tokens,
            "gain": total_gain,
            "usd_per_gain": totals.usd / total_gain if total_gain else None,
            "evaluations": totals.evaluations,
            "usd_per_evaluation": totals.usd / totals.evaluations if totals.evaluations else None,
            "seconds": sight.archive.seconds(),
        },
    }


def reproduce_run(sight: Sight) -> str:
    """The command that runs the same search again; each run draws its own secret seed."""
    config = sight.config
    words = ["vevolve", "run", sight.archive.started.seed]
    raw = config.get("models")
    models: list[object] = list(raw) if isinstance(raw, list | tuple) else []  # pyright: ignore[reportUnknownArgumentType]
    for model in models:
        words += ["--model", str(model)]
    for name in ("evaluations", "usd", "seconds"):
        if config.get(name) is not None:
            words += [f"--{name}", f"{config[name]}"]
    return shlex.join(words)


def _split(sight: Sight, query: Mapping[str, str]) -> str:
    wanted = query.get("split", "")
    return wanted if wanted in ("search", "select", "sealed") else sight.split


def _direction(sight: Sight, name: str) -> str:
    return next((axis.direction for axis in sight.archive.objectives if axis.name == name), "min")


def _change(before: Any, after: float) -> float | None:
    return after / before - 1 if isinstance(before, int | float) and before else None
