"""How things look on a terminal. Text of models and candidates is shown as text: no markup, no control characters."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

from vevolve.types import Containment, Objective, Point, Verdict

SHORT = 10
"""Characters of an id that are shown; any unique prefix is taken."""
ROUNDING = 1e-9
"""A hypervolume of a few units is a sum of thousands of terms: a smaller difference says nothing."""
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"  # CSI, OSC and other strings, rest
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # control characters but tab and newline
)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what cannot be seen: also changes of direction, which make code read as other code."""


def clean(text: str) -> str:
    """Untrusted text without anything that a terminal would act on; lines and tabs stay."""
    plain = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    if plain.isascii():
        return plain
    return "".join(char for char in plain if char in "\n\t" or unicodedata.category(char) not in _HIDDEN)


def line(text: str, width: int = 100) -> str:
    """Untrusted text on one line, cut to a width."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= width else flat[: width - 3] + "..."


def print_json(value: Any) -> None:
    """One JSON document; non-ASCII is escaped, so that no text can reach the terminal as a control sequence."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def say(text: str = "") -> None:
    """A line of our own on the standard output."""
    sys.stdout.write(text + "\n")


def warn_of_level(containment: Containment) -> None:
    """One line to stderr where candidates are contained to less than the highest level."""
    from vevolve.evolve.cli.typed import typed
    from vevolve.sandbox import banner

    if words := banner(containment):
        sys.stderr.write(clean(typed(words)) + "\n")


def coloured() -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def gain(value: float) -> str:
    """A gain in hypervolume; a dash for none, and for one that is rounding alone."""
    return f"{value:.3g}" if value > ROUNDING else "-"


def number(value: float | str | None) -> str:
    """A figure with four significant digits; a dash for none."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}"


def figures(point: Point, objectives: Sequence[Objective]) -> list[str]:
    """The point's values of the objectives, as cells."""
    values = point.model_extra or {}
    return [number(values.get(objective.name)) for objective in objectives]


def points(found: Sequence[Point], objectives: Sequence[Objective], before: Sequence[Point] = ()) -> None:
    """A table of operating points with every objective and, where `before` answers the same question, the change."""
    from vevolve.evolve.cli.tables import table

    families = any(point.family for point in found)
    earlier = {(point.split, point.family, point.label): point.model_extra or {} for point in before}
    names = [axis.name for axis in objectives]
    header = ["split", *(["family"] if families else []), "point", *names]
    if earlier:
        header = [*header, *(f"{name} change" for name in names)]
    rows: list[list[str]] = []
    for point in found:
        row = [point.split, *([point.family or "-"] if families else []), point.label or "-"]
        row += figures(point, objectives)
        if earlier:
            old = earlier.get((point.split, point.family, point.label), {})
            row += [_change(old.get(name), (point.model_extra or {}).get(name)) for name in names]
        rows.append(row)
    table(header, rows, right=header[2 if not families else 3 :])


def _change(old: Any, new: Any) -> str:
    if not isinstance(old, int | float) or not isinstance(new, int | float) or not old:
        return "-"
    return f"{new / old - 1:+.1%}"


def verdict(found: Verdict, objectives: Sequence[Objective], before: Sequence[Point] = ()) -> None:
    """A verdict for people: what it is, points, bounds, per-layer figures, feedback."""
    level = f", sandbox level {found.containment.level}" if found.containment else ""
    what = "valid" if found.valid else f"invalid ({found.status})"
    say(f"{what}, stage {found.stage or '-'}{level}, {found.cost.wall_s:.1f} s, {_processes(found.cost.processes)}")
    if found.points:
        points(found.points, objectives, before)
    stated = {point.label for point in found.points}
    feedback = [text for text in found.feedback.splitlines() if text.partition(": ")[0] not in stated]
    for bound in found.bounds:
        shown = "not shown on replay" if bound.upper > bound.delta else "holds on replay"
        say(
            f"error above {bound.epsilon:g} in {bound.rate:.2%} of units on {bound.split}, all heads pooled (promised "
            f"{bound.delta:.0%}; at most {bound.upper:.2%} with {bound.confidence:.0%} confidence, {bound.documents} "
            f"document{'' if bound.documents == 1 else 's'}: "
            f"{'broken' if bound.rate > bound.delta else shown})"
        )
    layers(found)
    if feedback:
        # What it says of each point stands in the table above.
        say(clean("\n".join(feedback)))


def _processes(count: int) -> str:
    return f"{count} process{'' if count == 1 else 'es'}"


def layers(found: Verdict) -> None:
    """The per-layer breakdown, where a report holds one: `points`, by family and point, each with a list `layers`.

    Points stand in the order of the verdict, layers in the model's; a column that says the same in every row is left
    out.
    """
    from vevolve.evolve.cli.tables import table

    rows: list[dict[str, Any]] = []
    order = {point.label: place for place, point in enumerate(found.points)}
    for family, by_label in (found.report.get("points") or {}).items():
        for label in sorted(by_label, key=lambda label: order.get(label, len(order))):
            for layer in sorted(by_label[label].get("layers", ()), key=_depth):
                averaged = {key: sum(v) / len(v) if isinstance(v, list) and v else v for key, v in layer.items()}
                rows.append({"workload": family, "point": label, **averaged})
    if rows:
        splits = " and ".join(dict.fromkeys(point.split for point in found.points))
        say(f"by layer on the {splits} split, averaged over KV heads:")
        shown = [key for key in rows[0] if len(rows) == 1 or any(row.get(key) != rows[0][key] for row in rows)]
        figures = [key for key in shown if key not in ("workload", "point")]
        table(shown, [[number(row.get(key)) for key in shown] for row in rows], right=figures)


def _depth(layer: dict[str, Any]) -> float:
    """Where a layer stands; rows that do not tell keep their order."""
    number = layer.get("layer")
    return number if isinstance(number, int | float) else 0


def code(text: str, language: str = "python") -> None:
    """A program or a diff, coloured on a terminal and verbatim otherwise."""
    text = clean(text)
    if not coloured():
        say(text.rstrip("\n"))
        return
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console(markup=False, highlight=False, emoji=False)
    console.print(Syntax(text, language, theme="ansi_dark", background_color="default", word_wrap=True))
