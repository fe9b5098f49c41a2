"""Commands that make something of a run to show or to keep: report, plot, note, pin, prune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vevolve.evolve.cli.options import AsJson, Run, RunOption

Id = Annotated[str, typer.Argument(help="A candidate's id, or a unique beginning of it.", metavar="ID")]


def report(
    run: Run = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A new .html or .md file; default: REPORT.html named as the run."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a report on a run: one file that needs nothing else.

    Question, method, front, the story of the winning lineage, certificates, and how to reproduce it.
    """
    from vevolve.archive import report as reports
    from vevolve.errors import BadInput
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.read import open_run

    with open_run(run) as archive:
        name = archive.path.parent.resolve().name
        facts = reports.facts(archive, name)
    if as_json:
        render.print_json(facts)
        return
    path = out or Path(f"{name}.html")
    if path.suffix not in (".html", ".md"):
        raise BadInput(f"A report is written as .html or .md, not as '{path.name}'.")
    text = reports.html(facts) if path.suffix == ".html" else reports.markdown(facts)
    write_new(path, text)
    render.say(f"Wrote {path}.")


def plot(
    run: Run = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="A new .png, .svg or .pdf file, as wide as a paper's column.")
    ] = Path("front.svg"),
    split: Annotated[
        str | None, typer.Option(metavar="search|select", help="By default select where it has points.")
    ] = None,
    family: Annotated[str, typer.Option(metavar="NAME", help="A family of workloads; by default the main one.")] = "",
) -> None:
    """Draw the front of a run for a paper. Needs matplotlib: `pip install 'vevolve[plot]'`."""
    from vevolve.archive import figure
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.read import open_run, split_of

    with open_run(run) as archive:
        drawn = figure.figure(archive, split_of(archive, split), family)
    figure.write(drawn, out)
    render.say(f"Wrote {out}: {len(drawn.front)} points on the front of {drawn.split}.")


def note(
    id: Id,
    text: Annotated[str, typer.Argument(help="What you think of it; '' takes back what was said.", metavar="TEXT")],
    run: RunOption = None,
) -> None:
    """Write a note beside a candidate. It may be done while the run goes on."""
    from vevolve.archive import notes
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.read import candidate, open_run

    with open_run(run) as archive:
        record = candidate(archive, id)
        notes.note(archive.path, record.id, text)
    render.say(f"{'Noted on' if text.strip() else 'Took back the notes on'} {record.id[: render.SHORT]}.")


def pin(
    id: Id,
    off: Annotated[bool, typer.Option("--off", help="Take the pin away.")] = False,
    run: RunOption = None,
) -> None:
    """Pin a candidate, so that the page lists it among the noted ones."""
    from vevolve.archive import notes
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.read import candidate, open_run

    with open_run(run) as archive:
        record = candidate(archive, id)
        notes.pin(archive.path, record.id, not off)
    render.say(f"{'Unpinned' if off else 'Pinned'} {record.id[: render.SHORT]}.")


def prune(
    run: Annotated[str, typer.Argument(help="A run's name, a unique part of it, or its directory.", metavar="RUN")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Drop the prompts and replies of a run that has stopped, and give the space back.

    Programs, verdicts, ideas, lineage and costs stay. A pruned run can be resumed, but no longer replayed.
    """
    from vevolve.archive.prune import prune as drop
    from vevolve.evolve.cli import render
    from vevolve.evolve.run import find_run

    directory = find_run(run)
    if not yes and not typer.confirm(f"Drop all prompts and replies of {directory.path} for good?"):
        render.say("Nothing was dropped.")
        raise typer.Exit(1)
    done = drop(directory.archive)
    render.say(f"Dropped {done.exchanges} exchanges: {done.before / 1e6:.1f} MB before, {done.after / 1e6:.1f} MB now.")


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet. Raises `BadInput` where it is, or cannot be written."""
    from vevolve.errors import BadInput

    try:
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"{path} exists already; name another file with --out, or remove it first.") from None
    except OSError as error:
        raise BadInput(f"Cannot write {path}: {error.strerror}.") from error
