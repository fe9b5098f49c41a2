"""The command leaderboard: every method side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vevolve.evolve.cli.options import AllowDegraded, AsJson

if TYPE_CHECKING:
    from vevolve.evaluators.contract import Problem
    from vevolve.evolve.leaderboard.measured import Entry, Measured


def leaderboard(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Programs of yours, measured beside the shipped ones."),
    ] = None,
    problem: Annotated[
        list[str] | None, typer.Option("--problem", "-p", metavar="NAME|DIR", help="Default: all that ship methods.")
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL", help="The operating point that ranks, and where --model judges, such as '128 tokens'."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Measure what is missing of the model stage too, inside this model."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what was measured before.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="METHOD", help="Measure nothing but this method; may be given several times."),
    ] = None,
    kept: Annotated[
        Path | None, typer.Option("--kept", metavar="FILE", help="Where your measurements are kept.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that needs nothing else.")] = None,
    allow_degraded: AllowDegraded = False,
    as_json: AsJson = False,
) -> None:
    """Print every method of the attention problems: traffic or memory, error, accuracy, and what was published.

    Measurements ship with vEvolve; what is missing, such as a program of yours, is measured first, in the sandbox.
    """
    from vevolve.errors import BadInput
    from vevolve.evaluators.contract import load
    from vevolve.evolve.cli import render
    from vevolve.evolve.leaderboard import board, measured
    from vevolve.evolve.leaderboard.page import page
    from vevolve.evolve.leaderboard.shelf import certified

    if files and len(problem or ()) != 1:
        raise BadInput("Name the problem that your programs solve: --problem NAME.")
    if only and len(problem or ()) != 1:
        raise BadInput("Name the problem of the methods that --only measures: --problem NAME.")
    own = kept or measured.OWN
    found: list[tuple[Problem, list[dict[str, Any]]]] = []
    for name in problem or measured.PROBLEMS:
        loaded = load(name)
        known = [*measured.read(own), *measured.read(measured.SHIPPED)]
        missing = _missing(loaded, known, files or [], only or [], model, point or loaded.headline, fresh)
        known = _measure(loaded, known, missing, own, point or loaded.headline, allow_degraded)
        entries = measured.entries(loaded, known, files or [], model=model or measured.MODEL)
        label = point or loaded.headline or _first_label(entries)
        found.append((loaded, board.rows(loaded, entries, label, certified(loaded))))
        _check_label(label, found[-1][1])
    every = [row for _, rows in found for row in rows]
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
        sys.stderr.write(f"Wrote {html}.\n")
    if as_json:
        render.print_json(every)
    elif html is None:
        for number, (loaded, rows) in enumerate(found):
            render.say(("\n" if number else "") + f"{loaded.name} at {rows[0]['label'] if rows else '-'}, select split")
            _print(loaded, rows)


def _missing(
    problem: Problem, known: list[Measured], files: list[Path], only: list[str], model: str | None, label: str,
    fresh: bool,
) -> list[tuple[str, Path, str | None]]:  # fmt: skip
    """What is to be measured: name and program of a method, and inside which model.

    A shipped method that changed keeps its old verdict, shown as stale, until it is asked for by `fresh`.
    """
    from vevolve.errors import UnknownName
    from vevolve.evaluators.programs import read_program
    from vevolve.evolve.leaderboard import measured

    mine = {file.resolve() for file in files}
    methods = measured.methods(problem, files)
    for name in only:
        if name not in methods:
            raise UnknownName(f"method of {problem.name}", name, methods)
    found: list[tuple[str, Path, str | None]] = []
    for method, file in methods.items():
        if only and method not in only:
            continue
        candidate = read_program(file)
        for inside in (None, model) if model else (None,):
            there = [one for one in known if measured.about(one, problem, method, inside, label)]
            current = any(measured.fits(one, problem, candidate) for one in there)
            if fresh or not there or (file.resolve() in mine and not current):
                found.append((method, file, inside))
    return found


def _measure(
    problem: Problem, known: list[Measured], missing: list[tuple[str, Path, str | None]], own: Path, label: str,
    allow_degraded: bool,
) -> list[Measured]:  # fmt: skip
    """Measure what is missing, and keep each verdict as soon as it is there."""
    from vevolve.errors import BadInput
    from vevolve.evaluators.programs import read_program
    from vevolve.evolve.cli.judge import open_sandbox
    from vevolve.evolve.leaderboard import measured

    if not missing:
        return known
    with open_sandbox(problem, allow_degraded) as sandbox:
        for number, (method, file, inside) in enumerate(missing, 1):
            where = f" inside {inside}" if inside else ""
            sys.stderr.write(f"measuring {problem.name}/{method}{where} ({number} of {len(missing)})\n")
            candidate = read_program(file)
            subject = sandbox.subject(candidate)
            try:  # a reference that scores with what comes later cannot be put into a model
                new = measured.measure(problem, method, candidate, subject, model=inside, label=label)
            except BadInput as error:
                if candidate.constants.get("REFERENCE") is not True or not problem.headline:
                    raise
                sys.stderr.write(f"{method} stays unmeasured: {error}\n")
                continue
            before = [one for one in known if one.key == new.key and measured.fits(one, problem, candidate)]
            new = measured.joined(before[0], new) if before else new
            measured.write(own, measured.replaced(measured.read(own), new))
            known = [new, *known]
    return known


def _first_label(entries: Sequence[Entry]) -> str:
    """The first operating point that was measured, of a problem that names none."""
    return next((point.label for entry in entries if entry.select for point in entry.select.points), "")


def _check_label(label: str, rows: list[dict[str, Any]]) -> None:
    from vevolve.errors import UnknownName

    labels = dict.fromkeys(point["label"] for row in rows for point in row["points"])
    if rows and label not in labels:
        raise UnknownName("operating point", label, labels)


def _print(problem: Problem, rows: list[dict[str, Any]]) -> None:
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.tables import table
    from vevolve.evolve.leaderboard import board

    names = board.columns(problem, rows)
    shown = [board.cells(problem, row) for row in rows]
    texts = {"method", "certificate", "published", "note"}
    for reference in (False, True):
        chosen = [cells for cells, row in zip(shown, rows, strict=True) if row["reference"] is reference]
        if chosen:
            if reference:
                render.say("\nreferences, which read what no method could:")
            table(
                names,
                [[cells.get(name, "-") for name in names] for cells in chosen],
                [n for n in names if n not in texts],
            )
    if any(row["stale"] for row in rows):
        render.say("* of another version of the problem or the method; --fresh measures anew")
