"""The board itself: what each method costs and gets wrong, ordered by error at one operating point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vevolve.evaluators.contract import Problem
from vevolve.evolve.leaderboard.measured import Entry
from vevolve.types import Point, Verdict

_LAST = ("perplexity", "KL", "answers", "log p", "certificate", "published", "note")


def rows(problem: Problem, board: Sequence[Entry], label: str, certificates: dict[str, str]) -> list[dict[str, Any]]:
    """One row a method as plain JSON: practical methods by error at `label`, then references, then what failed.

    Args:
        problem: whose methods they are.
        board: what was measured.
        label: the operating point that ranks.
        certificates: what is certified, in words, by candidate id.
    """
    found = [_row(problem, entry, label, certificates.get(entry.candidate.id)) for entry in board]
    found.sort(key=lambda row: (row["reference"], _error(problem, row), row["method"]))
    return found


def _error(problem: Problem, row: dict[str, Any]) -> float:
    """The last objective at the ranking point, as a loss; infinite where there is none."""
    axis = problem.objectives[-1]
    return axis.loss(row["at"][axis.name]) if row["at"] else float("inf")


def _row(problem: Problem, entry: Entry, label: str, certificate: str | None) -> dict[str, Any]:
    points = own(entry.select)
    at = next((point for point in points if point.label == label), None)
    judged = entry.inside.points if entry.inside is not None else ()
    inside = next((point for point in judged if point.label == label), judged[0] if judged else None)
    return {
        "problem": problem.name,
        "method": entry.method,
        "id": entry.candidate.id,
        "title": entry.title,
        "reference": entry.reference,
        "valid": entry.select is not None and entry.select.valid,
        "status": _status(entry.select),
        "stale": entry.stale,
        "label": label,
        "at": dict(at.model_extra or {}) if at is not None else {},
        "points": [point.model_dump(mode="json") for point in (entry.select.points if entry.select else ())],
        "inside": {"label": inside.label, **(inside.model_extra or {})} if inside is not None else {},
        "inside_points": [point.model_dump(mode="json") for point in judged],
        "inside_status": _status(entry.inside),
        "certificate": certificate,
        "published": entry.published or None,
    }


def own(verdict: Verdict | None) -> list[Point]:
    """The points of the workload that fronts are drawn from, without the families."""
    return [point for point in verdict.points if not point.family] if verdict is not None else []


def _status(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not measured yet"
    return (
        "ok" if verdict.valid else f"{verdict.status}: {verdict.feedback.splitlines()[0] if verdict.feedback else ''}"
    )


def cells(problem: Problem, row: dict[str, Any]) -> dict[str, str]:
    """What people read of a row, by column."""
    at, inside = row["at"], row["inside"]
    shown = {"method": row["method"] + ("*" if row["stale"] else "")}
    for axis in problem.objectives:
        shown[axis.name] = _figure(at.get(axis.name))
    for name in ("error_worst", "error_needle", "index_bits"):
        if name in at:
            shown[name.replace("_", " ")] = _figure(at[name])
    if not row["valid"]:
        shown["note"] = row["status"]
    shown["perplexity"] = _ratio(inside.get("perplexity"), inside.get("perplexity_dense"))
    shown["KL"] = _figure(inside.get("kl"))
    accuracy, asked = inside.get("accuracy"), inside.get("questions_dense")
    shown["answers"] = f"{accuracy * asked:.0f}/{asked:.0f}" if accuracy is not None else "-"
    shown["log p"] = _figure(inside.get("gold_logprob"))
    shown["certificate"] = row["certificate"] or "-"
    shown["published"] = row["published"] or "-"
    return shown


def columns(problem: Problem, found: Sequence[dict[str, Any]]) -> list[str]:
    """The columns in which at least one row says something, in order."""
    filled: dict[str, bool] = {}
    for row in found:
        for name, cell in cells(problem, row).items():
            filled[name] = filled.get(name, False) or cell != "-"
    names = [name for name, said in filled.items() if said]
    return [name for name in names if name not in _LAST] + [name for name in _LAST if name in names]


def _figure(value: Any) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _ratio(value: Any, dense: Any) -> str:
    return f"{value / dense:.3g}x" if isinstance(value, int | float) and isinstance(dense, int | float) else "-"
