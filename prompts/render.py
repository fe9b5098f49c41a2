"""Build the texts of a request from plain values.

Models see figures of the `search` split only: every function raises ValueError on a point of any other split, so that
a slip in the loop stops it rather than leaks the data that decides promotion.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vevolve.prompts.quoting import cut, escaped, one_line, untrusted, written
from vevolve.types import Objective, Point, Status

Form = Literal["diff", "rewrite"]
"""What is asked for: SEARCH/REPLACE blocks, or the whole program."""

_DONOR_CHARACTERS = 16_000
_FAILURES = 6
_ROWS, _FIGURES = 40, 8


@dataclass(frozen=True)
class Shown:
    """A program as a model gets to see it.

    Attributes:
        source: its text. A parent is shown whole, since edits must match it; others are cut when long.
        points: its operating points on the `search` split.
        feedback: what its examination said about it, on the `search` split.
        idea: the line that its proposer gave it.
        name: how the archive calls it; may be short.
        status: of its verdict.
    """

    source: str
    points: Sequence[Point] = ()
    feedback: str = ""
    idea: str = ""
    name: str = ""
    status: Status = "ok"


@dataclass(frozen=True)
class Failure:
    """A recent attempt that came to nothing: what was tried, and what was said about it."""

    idea: str
    status: str
    feedback: str = ""


def system(task: str, objectives: Sequence[Objective]) -> str:
    """The system text, the same for a whole run: the problem's own statement, and how programs are judged."""
    return _fill("system", task=task.strip(), objectives="\n".join(map(_criterion, objectives)))


def mutate(
    parent: Shown,
    objectives: Sequence[Objective],
    *,
    inspirations: Sequence[Shown] = (),
    failures: Sequence[Failure] = (),
    hint: str = "",
    form: Form = "diff",
) -> str:
    """Ask for one improvement of `parent`. `inspirations` are other good programs; `hint` is trusted text of ours.

    Raises:
        ValueError: a point is not of the `search` split.
    """
    return _fill(
        "mutate",
        parent=_program("The program", parent, objectives),
        inspirations=_others("Another good program", inspirations, objectives),
        failures=_failures(failures),
        hint=_hint(hint),
        format=_fill(f"format_{form}"),
    )


def crossover(
    parent: Shown,
    donors: Sequence[Shown],
    objectives: Sequence[Objective],
    *,
    failures: Sequence[Failure] = (),
    hint: str = "",
    form: Form = "diff",
) -> str:
    """Ask for `parent` with a mechanism of one of the `donors`. Raises ValueError as `mutate` does."""
    return _fill(
        "crossover",
        parent=_program("The program", parent, objectives),
        donors=_others("A donor", donors, objectives),
        failures=_failures(failures),
        hint=_hint(hint),
        format=_fill(f"format_{form}"),
    )


def repair(
    parent: Shown,
    objectives: Sequence[Objective],
    *,
    inspirations: Sequence[Shown] = (),
    failures: Sequence[Failure] = (),
    hint: str = "",
    form: Form = "diff",
) -> str:
    """Ask to mend a program whose verdict was invalid. Raises ValueError as `mutate` does."""
    return _fill(
        "repair",
        parent=_program("The program", parent, objectives),
        inspirations=_others("A program that works", inspirations, objectives),
        failures=_failures(failures),
        hint=_hint(hint),
        format=_fill(f"format_{form}"),
    )


def apply_repair(parent: Shown, reply: str, message: str, *, form: Form = "diff") -> str:
    """Ask once more, after `reply` could not be applied to `parent` for the reason in `message`."""
    return _fill(
        "apply_repair",
        parent=_program("The program", Shown(parent.source), ()),
        reply=written(cut(reply, 2 * _DONOR_CHARACTERS)),
        message=written(cut(message, 4000)),
        format=_fill(f"format_{form}"),
    )


def _criterion(objective: Objective) -> str:
    wanted = "lower" if objective.direction == "min" else "higher"
    unit = f" ({objective.unit})" if objective.unit else ""
    axis = ", on a log10 axis" if objective.scale == "log10" else ""
    ends = f"from {objective.worst:g}" + ("" if objective.best is None else f" to {objective.best:g}")
    return f"- `{objective.name}`{unit}: {wanted} is better; counted {ends}{axis}."


def _program(title: str, shown: Shown, objectives: Sequence[Objective], limit: int | None = None) -> str:
    name = f" {escaped(shown.name)}" if shown.name else ""
    parts = [f"## {title}{name}"]
    if shown.idea:
        parts.append(f"Its idea, as its author put it:\n\n{written(one_line(shown.idea))}")
    if shown.status != "ok":
        parts.append(f"It failed: `{shown.status}`.")
    if shown.points:
        parts.append(f"Its operating points:\n\n{_table(shown.points, objectives)}")
    if shown.feedback.strip():
        parts.append(f"What its examination reported:\n\n{untrusted(shown.feedback)}")
    parts.append(written(shown.source if limit is None else cut(shown.source, limit), "python"))
    return "\n\n".join(parts)


def _others(title: str, programs: Sequence[Shown], objectives: Sequence[Objective]) -> str:
    return "\n\n".join(_program(title, shown, objectives, _DONOR_CHARACTERS) for shown in programs)


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    rows = [
        f"{failure.status}: {one_line(failure.idea, 200)}: {one_line(failure.feedback)}"
        for failure in failures[-_FAILURES:]
    ]
    return f"## What was tried lately and failed\n\nDo not repeat these.\n\n{untrusted(chr(10).join(rows))}"


def _hint(hint: str) -> str:
    return f"## A hint\n\n{hint.strip()}" if hint.strip() else ""


def _table(points: Sequence[Point], objectives: Sequence[Objective]) -> str:
    """Operating points, one a row: setting, objectives, then whatever other figures they carry."""
    for point in points:
        if point.split != "search":
            raise ValueError(f"a prompt may hold points of the search split only, got {point.split!r}")
    names = [objective.name for objective in objectives]
    others = {name for point in points for name, value in _figures(point).items() if value is not None} - {*names}
    columns = [*names, *sorted(others)[:_FIGURES]]
    families = any(point.family for point in points)
    head = ["setting", *(["workload"] if families else []), *columns]
    rows = [head, ["---"] * len(head)]
    for point in points[:_ROWS]:
        figures = _figures(point)
        place = [escaped(point.label), *([escaped(point.family or "main")] if families else [])]
        rows.append([*place, *(_number(figures.get(name)) for name in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figures(point: Point) -> dict[str, float | None]:
    extra = point.__pydantic_extra__ or {}
    return {name: value if isinstance(value, int | float) else None for name, value in extra.items()}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


@functools.cache
def _template(name: str) -> str:
    return (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8").strip()


def _fill(name: str, **values: str) -> str:
    """The template with its placeholders filled; a paragraph that is one empty placeholder is left out."""
    paragraphs = _template(name).split("\n\n")
    kept = [text for text in paragraphs if values.get(text.removeprefix("$"), "-") or not text.startswith("$")]
    return "\n\n".join(string.Template(text).substitute(values) for text in kept)
