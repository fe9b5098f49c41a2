"""Plots as SVG text: error against cost by method, and what is left of the model against cost."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 60, WIDTH - 180, 16, HEIGHT - 56
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#6f4e9c", "#8c564b", "#2a7f7f", "#7a7a00")
"""Okabe and Ito's colours, told apart by the colour-blind, and a few more; names stand beside the lines anyway."""
STYLE = (
    "svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#1d1d1f}.quiet{fill:#6b6b70}.grid{stroke:#d8d8dc}"
    "@media (prefers-color-scheme:dark){svg{background:#16161a}text{fill:#ececf0}.quiet{fill:#a0a0a8}"
    ".grid{stroke:#37373d}}"
)


@dataclass(frozen=True)
class Line:
    """The points of one method, by cost.

    Attributes:
        name: what stands beside it.
        points: (cost, value).
        reference: drawn dashed and grey.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    reference: bool = False


def drawing(lines: Sequence[Line], across: str, up: str, *, log_up: bool = True) -> str:
    """Lines, or dots where each has one point, over a logarithmic cost axis. "" where there is nothing to draw."""
    drawn = [line for line in lines if line.points]
    every = [point for line in drawn for point in line.points]
    if not every:
        return ""
    x = _Axis([cost for cost, _ in every], LEFT, RIGHT, log=True)
    y = _Axis([value for _, value in every], BOTTOM, TOP, log=log_up)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(up)} against {html.escape(across)} by method"><style>{STYLE}</style>'
    ]
    for tick in x.ticks:
        parts.append(f'<path class="grid" d="M{x.at(tick):.1f} {TOP}V{BOTTOM}"/>')
        parts.append(_text(x.at(tick), BOTTOM + 18, f"{tick:g}", "middle", quiet=True))
    for tick in y.ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y.at(tick):.1f}H{RIGHT}"/>')
        parts.append(_text(LEFT - 8, y.at(tick) + 4, f"{tick:g}", "end", quiet=True))
    parts.append(_text((LEFT + RIGHT) / 2, HEIGHT - 12, across, "middle"))
    parts.append(
        f'<text transform="translate(14 {(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(up)}</text>"
    )
    colours = iter(COLOURS * (len(drawn) // len(COLOURS) + 1))
    labels: list[tuple[float, float, str, str]] = []
    for line in drawn:
        colour = "#8a8a90" if line.reference else next(colours)
        cost, value = line.points[-1]
        labels.append((y.at(value), x.at(cost), line.name, colour))
        path = " ".join(f"{x.at(cost):.1f},{y.at(value):.1f}" for cost, value in line.points)
        dash = ' stroke-dasharray="4 3"' if line.reference else ""
        if len(line.points) > 1:
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        parts += [
            f'<circle cx="{x.at(cost):.1f}" cy="{y.at(value):.1f}" r="3" fill="{colour}"/>'
            for cost, value in line.points
        ]
    parts += _named(labels)
    return "".join([*parts, "</svg>"])


def _named(labels: Sequence[tuple[float, float, str, str]]) -> list[str]:
    """Names at the right, in the order of their lines' ends (y, x), none over another and none off the page."""
    step = min(15.0, (BOTTOM - TOP) / max(len(labels), 1))
    places: list[float] = []
    for end, *_ in sorted(labels):
        places.append(max(end, places[-1] + step) if places else max(end, TOP + 4))
    over = max(places[-1] - BOTTOM, 0) if places else 0
    for index in reversed(range(len(places))):
        limit = BOTTOM if index == len(places) - 1 else places[index + 1] - step
        places[index] = min(places[index], limit) if over else places[index]
    return [
        f'<text x="{RIGHT + 12}" y="{place + 4:.1f}" style="fill:{colour}">{html.escape(name)}</text>'
        f'<path d="M{across + 4:.1f} {end:.1f}L{RIGHT + 10} {place:.1f}" stroke="{colour}" fill="none" opacity=".3"/>'
        for place, (end, across, name, colour) in zip(places, sorted(labels), strict=True)
    ]


def _text(x: float, y: float, text: str, anchor: str, *, quiet: bool = False) -> str:
    kind = ' class="quiet"' if quiet else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


class _Axis:
    """An axis from the data's ends to the page."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool) -> None:
        self._log, self._start, self._end = log, start, end
        low, high = self._scaled(min(values)), self._scaled(max(values))
        pad = max((high - low) * 0.04, 0.02)
        self._low, self._high = low - pad, high + pad

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def at(self, value: float) -> float:
        """Where a value stands on the page."""
        return self._start + (self._scaled(value) - self._low) / (self._high - self._low) * (self._end - self._start)

    @property
    def ticks(self) -> list[float]:
        """1, 2 and 5 of every decade in sight, or the middle; on a linear axis, about six round numbers."""
        if self._log:
            decades = range(math.floor(self._low), math.ceil(self._high) + 1)
            every = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
            seen = [tick for tick in every if self._low <= math.log10(tick) <= self._high]
            return seen or [float(f"{10 ** ((self._low + self._high) / 2):.2g}")]
        span = (self._high - self._low) / 6
        unit = 10 ** math.floor(math.log10(span))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= span)
        return [
            round(step * count, 10) for count in range(math.ceil(self._low / step), math.floor(self._high / step) + 1)
        ]
