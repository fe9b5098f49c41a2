"""The board as one HTML page that needs nothing else: tables and plots of error against cost, drawn as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from vevolve.evaluators.contract import Problem
from vevolve.evolve.leaderboard import board
from vevolve.types import Objective

WIDTH, HEIGHT, MARGIN = 760, 420, 56
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b5b5b", "#9a7d0a")
"""Okabe and Ito's colours, told apart by the colour-blind, and two more."""
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
tr.reference td { font-style: italic; color: var(--quiet); } svg { max-width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .grid { stroke: var(--line); }
svg .tick { fill: var(--quiet); }
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
        f"</div>{stale}{plot(problem, rows)}"
    )


def plot(problem: Problem, rows: Sequence[dict[str, Any]]) -> str:
    """Error against cost of every operating point of the best methods and the references, log axes."""
    across, up = problem.objectives[0], problem.objectives[-1]
    practical = [row for row in rows if not row["reference"] and row["points"]][: len(_COLOURS)]
    lines = [(row, colour, "") for row, colour in zip(practical, _COLOURS, strict=False)]
    lines += [(row, "var(--quiet)", "4 3") for row in rows if row["reference"] and row["points"]][:2]
    drawn = [(row, colour, dash, _points(row, across, up)) for row, colour, dash in lines]
    every = [point for _, _, _, points in drawn for point in points]
    if not every:
        return ""
    x = _Axis([a for a, _ in every], MARGIN, WIDTH - 170)
    y = _Axis([b for _, b in every], HEIGHT - MARGIN, 16)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{up.name} against {across.name} by method">',
        *(f'<line class="grid" x1="{x.at(t):.1f}" x2="{x.at(t):.1f}" y1="16" y2="{HEIGHT - MARGIN}"/>'
          f'<text class="tick" x="{x.at(t):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{t:g}</text>'
          for t in x.ticks),
        *(f'<line class="grid" y1="{y.at(t):.1f}" y2="{y.at(t):.1f}" x1="{MARGIN}" x2="{WIDTH - 170}"/>'
          f'<text class="tick" x="{MARGIN - 8}" y="{y.at(t) + 4:.1f}" text-anchor="end">{t:g}</text>' for t in y.ticks),
        f'<text x="{(MARGIN + WIDTH - 170) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{_axis(across)}</text>',
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{html.escape(up.name)}</text>',
    ]  # fmt: skip
    taken: list[float] = []
    for row, colour, dash, points in sorted(drawn, key=lambda one: one[3][-1][1] if one[3] else 0, reverse=True):
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="2.6" fill="{colour}"/>' for a, b in points]
        place = y.at(points[-1][1]) + 4
        while any(abs(place - other) < 14 for other in taken):
            place += 2
        taken.append(place)
        parts.append(
            f'<text x="{WIDTH - 162}" y="{place:.1f}" style="fill: {colour}">{html.escape(row["method"])}</text>'
        )
    return "".join([*parts, "</svg>"])


def _points(row: dict[str, Any], across: Objective, up: Objective) -> list[tuple[float, float]]:
    """The row's points on the workload that fronts are drawn from, by cost."""
    own = [point for point in row["points"] if not point["family"]]
    return sorted((point[across.name], max(point[up.name], 1e-4)) for point in own if point[across.name] > 0)


def _axis(objective: Objective) -> str:
    return html.escape(f"{objective.name}, {objective.unit}" if objective.unit else objective.name)


class _Axis:
    """A logarithmic axis from the data's ends to the page."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = math.log10(min(values)), math.log10(max(values))
        pad = max((high - low) * 0.04, 0.02)
        self._low, self._high, self._start, self._end = low - pad, high + pad, start, end

    def at(self, value: float) -> float:
        """Where a value stands on the page."""
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    @property
    def ticks(self) -> list[float]:
        """1, 2 and 5 of every decade that is in sight."""
        decades = range(math.floor(self._low), math.ceil(self._high) + 1)
        every = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
        return [tick for tick in every if self._low <= math.log10(tick) <= self._high]
