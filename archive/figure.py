"""The front as a figure: an SVG of our own for reports, and matplotlib's for papers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from vevolve.archive.store import Archive
from vevolve.errors import BadInput, MissingDependency
from vevolve.types import Objective

BLUE, ORANGE, GREY = "#0072B2", "#C25100", "#9AA1A9"
COLUMN_INCHES = 3.3
"""The width of a column of most two-column papers."""
EXISTS = "{} exists already; name another file with --out, or remove it first."


@dataclass(frozen=True)
class Figure:
    """What is drawn: points of the first two objectives on one split.

    Attributes:
        x, y: the objectives; with a single one, y is it and x counts iterations.
        front: points that no other dominates, from left to right.
        seed: the seed's points.
        others: all other valid candidates' points.
        references: points of programs that read what no method could.
    """

    x: Objective
    y: Objective
    split: str
    front: tuple[tuple[float, float], ...]
    seed: tuple[tuple[float, float], ...]
    others: tuple[tuple[float, float], ...]
    references: tuple[tuple[float, float], ...]


def figure(archive: Archive, split: str, family: str = "") -> Figure:
    """The points of a run. Raises `BadInput` where the split has none."""
    axes = archive.objectives
    alone = len(axes) == 1
    x = Objective("iteration", "min", worst=1.0) if alone else axes[0]
    y = axes[0] if alone else axes[1]
    best = {record.id for record, _ in archive.front_points(split, family)}
    labels = {(record.id, point.label) for record, point in archive.front_points(split, family)}
    kinds: dict[str, list[tuple[float, float]]] = {"front": [], "seed": [], "others": [], "references": []}
    for one in archive.summaries():
        for spot in one.spots:
            if spot.split != split or spot.family != family:
                continue
            at = one.iteration if alone else spot.figures.get(x.name)
            up = spot.figures.get(y.name)
            if not isinstance(at, int | float) or not isinstance(up, int | float):
                continue
            place = _inside(float(at), x), _inside(float(up), y)
            if one.reference:
                kinds["references"].append(place)
                continue
            if one.id in best and (one.id, spot.label) in labels:
                kinds["front"].append(place)
            if one.operation == "seed":
                kinds["seed"].append(place)
            elif (one.id, spot.label) not in labels:
                kinds["others"].append(place)
    if not any(kinds.values()):
        raise BadInput(f"No points on the {split} split{f' of family {family}' if family else ''} to draw.")
    return Figure(x, y, split, **{name: tuple(sorted(found)) for name, found in kinds.items()})


def write(drawn: Figure, path: Path) -> None:
    """Write a figure that fits a paper's column, as a new .png, .svg or .pdf file.

    Raises:
        BadInput: another suffix, a file that exists already, or the disk refuses.
        MissingDependency: matplotlib is not installed.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise BadInput(f"A figure is written as .png, .svg or .pdf, not as '{path.name}'.")
    if path.exists():
        raise BadInput(EXISTS.format(path))
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependency("A figure needs matplotlib: pip install 'vevolve[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    style: dict[Any, Any] = {
        "font.size": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "svg.fonttype": "none",
    }
    with matplotlib.rc_context({**style, "svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "vevolve"}):
        canvas, axes = plt.subplots(figsize=(COLUMN_INCHES, 2.5), dpi=300, layout="constrained")
        for points, colour, marker, size in (
            (drawn.others, GREY, "o", 4),
            (drawn.references, GREY, "x", 14),
            (drawn.seed, ORANGE, "D", 14),
        ):
            if points:
                axes.scatter(*_columns(points), c=colour, marker=marker, s=size, linewidths=0.7, zorder=2)
        if drawn.front:
            line = stairs(drawn)
            axes.plot(*_columns(line), color=BLUE, linewidth=1.1, zorder=3)
            axes.scatter(*_columns(drawn.front), c=BLUE, s=12, zorder=4)
            axes.annotate("front", _middle(drawn.front), (-4, -9), textcoords="offset points", color=BLUE, ha="right")
        if drawn.seed:
            axes.annotate("seed", _middle(drawn.seed), (4, 4), textcoords="offset points", color=ORANGE)
        for axis, name, scale in (
            (drawn.x, axes.set_xlabel, axes.set_xscale),
            (drawn.y, axes.set_ylabel, axes.set_yscale),
        ):
            name(_titled(axis))
            if axis.scale == "log10":
                scale("log")
        axes.spines[["top", "right"]].set_visible(False)
        try:
            with path.open("xb") as file:
                canvas.savefig(file, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None)
        except FileExistsError as error:
            raise BadInput(EXISTS.format(path)) from error
        except OSError as error:
            raise BadInput(f"Cannot write the figure {path}: {error.strerror or error}.") from error
        finally:
            plt.close(canvas)


def stairs(drawn: Figure) -> list[tuple[float, float]]:
    """The line between what is dominated and what is not; between two points of the front nothing is claimed."""
    points = list(drawn.front if drawn.x.direction == "min" else reversed(drawn.front))
    line = points[:1]
    for (_, before), (x, y) in itertools.pairwise(points):
        line += [(x, before), (x, y)]
    return line


def svg(drawn: Figure, width: int = 720, height: int = 380) -> str:
    """The figure as an SVG that needs nothing else. Names are escaped."""
    left, right, top, bottom = 52.0, width - 16.0, 26.0, height - 44.0
    everything = [*drawn.front, *drawn.seed, *drawn.others, *drawn.references]
    x, x_ticks = _scale([point[0] for point in everything], left, right, drawn.x.scale == "log10")
    y, y_ticks = _scale([point[1] for point in everything], bottom, top, drawn.y.scale == "log10")
    parts: list[str] = []
    for value in y_ticks:
        parts.append(f'<line class="t" x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    parts += [f'<text x="{x(v):.1f}" y="{bottom + 16}" text-anchor="middle">{v:.3g}</text>' for v in x_ticks]
    parts.append(f'<text class="l" x="8" y="14">{escape(_titled(drawn.y))}</text>')
    parts.append(f'<text class="l" x="{right}" y="{height - 8}" text-anchor="end">{escape(_titled(drawn.x))}</text>')
    parts += [f'<circle class="o" cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.4"/>' for a, b in drawn.others]
    for a, b in drawn.seed:
        u, v = x(a), y(b)
        parts.append(f'<path class="s" d="M{u:.1f} {v - 6:.1f}l6 6l-6 6l-6 -6Z"/>')
    if drawn.front:
        line = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in stairs(drawn))
        parts.append(f'<polyline class="f" points="{line}"/>')
        parts += [f'<circle class="p" cx="{x(a):.1f}" cy="{y(b):.1f}" r="4.4"/>' for a, b in drawn.front]
        a, b = _middle(drawn.front)
        parts.append(f'<text class="pf" x="{x(a) - 9:.1f}" y="{y(b) + 15:.1f}" text-anchor="end">front</text>')
    if drawn.seed:
        a, b = _middle(drawn.seed)
        parts.append(f'<text class="ps" x="{x(a) + 9:.1f}" y="{y(b) - 6:.1f}">seed</text>')
    title = escape(f"{drawn.y.name} against {drawn.x.name} on the {drawn.split} split")
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(parts)}</svg>"
    )


def _inside(value: float, axis: Objective) -> float:
    """A figure, or the good end of its axis where it is beyond: nothing is gained there."""
    if axis.best is None:
        return value
    return max(value, axis.best) if axis.direction == "min" else min(value, axis.best)


def _titled(axis: Objective) -> str:
    unit = axis.unit if len(axis.unit) <= 40 else ""
    return f"{axis.name} ({unit})" if unit else axis.name


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _middle(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return points[len(points) // 2]


def _scale(values: Sequence[float], low: float, high: float, log: bool) -> tuple[Callable[[float], float], list[float]]:
    log = log and min(values) > 0
    form: Callable[[float], float] = math.log10 if log else float
    a, b = form(min(values)), form(max(values))
    pad = (b - a) * 0.05 or 0.05 * abs(a) or 1.0
    a, b = a - pad, b + pad

    def at(value: Any) -> float:
        return low + (form(value) - a) / (b - a) * (high - low)

    if log:
        steps = (1, 2, 5) if b - a < 2.2 else (1,)
        ticks = [s * 10.0**e for e in range(math.floor(a), math.ceil(b) + 1) for s in steps]
        ticks = [value for value in ticks if a <= math.log10(value) <= b]
        if len(ticks) > 1:
            return at, ticks
    lo, hi = (10**a, 10**b) if log else (a, b)
    raw = (hi - lo) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    unit = next(step * power for step in (1, 2, 5, 10) if step * power >= raw)
    return at, [unit * k for k in range(math.ceil(lo / unit), math.floor(hi / unit) + 1)]
