"""`python -m vevolve.evolve.leaderboard.documents` writes docs/methods: every method, what it says of itself, and how
it did, from the programs' docstrings, the measurements that ship, and what `notes.md` beside the programs says of all
of them. A program that is not among those measurements yet is left out: one file makes a seed, and no page waits."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vevolve.evaluators.contract import Problem, load
from vevolve.evolve.leaderboard import board, measured
from vevolve.evolve.leaderboard.measured import Entry
from vevolve.evolve.leaderboard.page import inside, plot
from vevolve.registry import seed_folder

FOLDER = Path("docs/methods")


def pages() -> Iterator[tuple[str, str]]:
    """File name and text of every page and plot."""
    found = measured.read(measured.SHIPPED)
    links: list[str] = []
    for name in measured.PROBLEMS:
        problem = load(name)
        entries = [entry for entry in measured.entries(problem, found) if entry.select is not None]
        rows = board.rows(problem, entries, problem.headline, {})
        for kind, text in (("error", plot(problem, rows)), ("model", inside(problem, rows))):
            if text:
                yield f"{name}-{kind}.svg", text + "\n"
        yield f"{name}.md", _page(problem, entries, rows)
        links.append(f"- [{name}]({name}.md): {len(entries)} methods. {inspect.getdoc(type(problem)).splitlines()[0]}")  # type: ignore[union-attr]
    yield "README.md", _HEAD + "\n".join(links) + "\n"


_HEAD = """\
# Methods

Written by `python -m vevolve.evolve.leaderboard.documents` from the docstrings of `seeds/` and the measurements that
ship; a test keeps them together. `vevolve leaderboard` prints the tables, with a program of yours among them.

"""


def _page(problem: Problem, entries: list[Entry], rows: list[dict[str, Any]]) -> str:
    names = board.columns(problem, rows)
    lines = [
        f"# {problem.name}",
        inspect.getdoc(type(problem)) or "",
        f"At {problem.headline}, on the select split, by error; methods marked † are references, which read what no "
        "method could. Perplexity, KL (nats a token), answers and log p (of right answers, nats a token) are those of "
        "SmolLM2-135M-Instruct with the method in it, compressed before the question is seen.",
        "\n".join(_table(problem, rows, names)),
    ]
    if plot(problem, rows):
        lines.append(f"![error against cost]({problem.name}-error.svg)")
    if inside(problem, rows):
        lines.append(f"![the model against cost]({problem.name}-model.svg)")
    notes = seed_folder(problem.name) / "notes.md"
    if notes.is_file():
        lines.append(notes.read_text(encoding="utf-8").strip())
    if any(row["stale"] for row in rows):
        lines.append("\\* measured on another version of the problem or of the method.")
    for entry in entries:
        text = ast.get_docstring(entry.candidate.tree) or "No docstring."
        lines += [
            f"## {entry.method}",
            f"```text\n{text}\n```",
            f"Published: {entry.published or 'nothing named'}. Program: "
            f"[`seeds/{problem.name}/{entry.method}.py`](../../seeds/{problem.name}/{entry.method}.py)",
        ]
    return "\n\n".join(lines) + "\n"


def _table(problem: Problem, rows: list[dict[str, Any]], names: list[str]) -> Iterator[str]:
    names = [name for name in names if name != "published"]
    yield "| " + " | ".join(names) + " |"
    yield "|" + "|".join("---" if name in ("method", "note") else "---:" for name in names) + "|"
    for row in rows:
        shown = board.cells(problem, row)
        shown["method"] += " †" if row["reference"] else ""
        yield "| " + " | ".join(shown.get(name, "-").replace("|", "\\|") for name in names) + " |"


def main() -> None:
    """Write every page anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*"):
        old.unlink()
    for name, text in pages():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
