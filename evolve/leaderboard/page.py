"""The board as one HTML page that needs nothing else: tables and plots of error against cost, drawn as SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from vevolve.evaluators.contract import Problem
from vevolve.evolve.leaderboard import board
from vevolve.evolve.leaderboard.drawing import Line, drawing
from vevolve.types import Objective

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #fff; --quiet: #6b6b70; --line: #d8d8dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --paper: #16161a; --quiet: #a0a0a8; --line: #37373d; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; } p { color: var(--quiet); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; } td.text, th.text { text-align: left; }
td.published { white-space: normal; min-width: 22rem; color: var(--quiet); }
tr.reference td { font-style: italic; color: var(--quiet); } svg { max-width: 50rem; width: 100%; height: auto; }
"""


def page(found: Sequence[tuple[Problem, Sequence[dict[str, Any]]]]) -> str:
    """The page. Text of programs is escaped."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width"><title>vEvolve leaderboard</title>',
        f"<style>{_STYLE}</style><h1>vEvolve leaderboard</h1>",
        "<p>Every method under one protocol, on recorded attention that no search has seen, and inside a model.</p>",
    ]
    for problem, rows in found:
        parts += [_section(problem, rows)]
    return "\n".join(parts) + "\n"


def _section(problem: Problem, rows: Sequence[dict[str, Any]]) -> str:
    names = board.columns(problem, rows)
    text = {"method", "certificate", "published", "note"}
    head = "".join(f'<th class="{"text" if name in text else ""}">{html.escape(name)}</th>' for name in names)
    lines: list[str] = []
    for row in rows:
        shown = board.cells(problem, row)
        cells = "".join(
            f'<td class="{"text " if name in text else ""}{name if name == "published" else ""}">'
            f"{html.escape(shown.get(name, '-'))}</td>"
            for name in names
        )
        lines.append(
            f'<tr class="{"reference" if row["reference"] else ""}" title="{html.escape(row["title"])}">{cells}</tr>'
        )
    label = html.escape(rows[0]["label"] if rows else "")
    stale = (
        "<p>* measured on another version of the problem or of the method.</p>" if any(r["stale"] for r in rows) else ""
    )
    return (
        f"<h2>{html.escape(problem.name)}</h2><p>At {label}, by error; references, which read what no method could, "
        f'in italics.</p><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
        f"</div>{stale}{plot(problem, rows)}{inside(problem, rows)}"
    )


def plot(problem: Problem, rows: Sequence[dict[str, Any]]) -> str:
    """Error against cost of every operating point, practical methods in colour."""
    across, up = problem.objectives[0], problem.objectives[-1]
    lines = [Line(row["method"], _points(row, across, up), row["reference"]) for row in rows if row["points"]]
    return drawing(lines, _axis(across), up.name)


def inside(problem: Problem, rows: Sequence[dict[str, Any]]) -> str:
    """What is left of the model, as the log-probability of right answers, against cost; "" if unmeasured."""
    across = problem.objectives[0]
    lines = [
        Line(row["method"], tuple(sorted((at[across.name], at["gold_logprob"]) for at in points)), row["reference"])
        for row in rows
        if (points := [at for at in row["inside_points"] if "gold_logprob" in at])
    ]
    return drawing(lines, _axis(across), "log-probability of the right answer, nats a token", log_up=False)


def _points(row: dict[str, Any], across: Objective, up: Objective) -> tuple[tuple[float, float], ...]:
    """The row's points on the workload that fronts are drawn from, by cost, as far as logarithms have them."""
    own = [point for point in row["points"] if not point["family"]]
    least = up.best if up.best is not None else 1e-6
    return tuple(sorted((point[across.name], max(point[up.name], least)) for point in own if point[across.name] > 0))


def _axis(objective: Objective) -> str:
    return f"{objective.name}, {objective.unit}" if objective.unit else objective.name
