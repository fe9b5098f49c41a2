"""Commands that look at a run: ls, front, show, diff, export, rm. They only read, also while the run goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vevolve.evolve.cli.options import AsJson, Run, RunOption

if TYPE_CHECKING:
    from vevolve.archive import Archive, Record
    from vevolve.archive.elites import Elites
    from vevolve.types import Point


def ls(
    run: Run = None,
    runs: Annotated[bool, typer.Option("--runs", help="List the runs, not the candidates of one.")] = False,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only this one, such as ok, crash or wrong.")
    ] = None,
    order: Annotated[str, typer.Option(metavar="told|newest|gain", help="What comes first.")] = "told",
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the candidates of a run, or the runs.

    What became of each, its Pareto rank on the search split, and the hypervolume that it added when it was told.
    """
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.tables import table

    if runs:
        _list_runs(as_json)
        return
    with open_run(run) as archive:
        found = archive.records(status=_status(status), order=_order(order), limit=limit)
        ranks = archive.ranks()
        if as_json:
            compared = _elites(archive)
            render.print_json([record.to_json(ranks.get(record.id)) | compared.to_json(record) for record in found])
            return
        table(
            ["#", "id", "parent", "operation", "proposer", "status", "rank", "gain", "idea"],
            [_row(record, ranks.get(record.id)) for record in found],
            right=["#", "rank", "gain"],
        )


def front(
    run: Run = None,
    split: Annotated[
        str | None, typer.Option(metavar="search|select", help="By default select where it has points.")
    ] = None,
    family: Annotated[str, typer.Option(metavar="NAME", help="A family of workloads; by default the main one.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the points that no other dominates, and the seed's.

    As JSON: the candidates on the front, each with those of its points that are on it.
    """
    from vevolve.errors import UnknownName
    from vevolve.evolve.cli import render

    with open_run(run) as archive:
        chosen = split_of(archive, split)
        if family and family not in (known := archive.families()):
            raise UnknownName("family", family, known)
        if as_json:
            render.print_json(_front_json(archive, chosen, family))
            return
        print_front(archive, chosen, family)


def show(
    id: Annotated[str, typer.Argument(help="A candidate's id, or a unique beginning of it.", metavar="ID")],
    run: RunOption = None,
    prompt: Annotated[bool, typer.Option("--prompt", help="Also the prompt and the reply that made it.")] = False,
    code: Annotated[bool, typer.Option(help="Also the program.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show one candidate: origin, verdict, points, program.

    Operating points stand beside those of its parent where both answer the same question.
    """
    from vevolve.evolve.cli import render

    with open_run(run) as archive:
        record = candidate(archive, id)
        exchanges = archive.prompts(record.id)
        rank = archive.ranks().get(record.id)
        timed = archive.measured().get(record.id)
        if as_json:
            render.print_json(
                record.to_json(rank)
                | _elites(archive).to_json(record)
                | {
                    "source": record.source,
                    "verdict": record.verdict.model_dump(mode="json"),
                    "selected": record.selected.model_dump(mode="json") if record.selected else None,
                    "measured": timed.model_dump(mode="json") if timed else None,
                    "exchanges": [one.model_dump(mode="json") for one in exchanges],
                }
            )
            return
        _describe(archive, record, rank)
        if prompt:
            for one in exchanges:
                render.say(f"\n--- prompt to {render.line(one.proposer)} ---\n{render.clean(one.system)}")
                render.say(f"{render.clean(one.user)}\n--- reply ---\n{render.clean(one.reply or one.error)}")
        if code:
            render.say()
            render.code(record.source)


def diff(
    a: Annotated[str, typer.Argument(help="A candidate.", metavar="A")],
    b: Annotated[
        str | None, typer.Argument(help="What it is compared with; by default its parent.", metavar="B")
    ] = None,
    run: RunOption = None,
    side: Annotated[bool, typer.Option("--side-by-side", "-y", help="Both programs beside each other.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what A changed against B, by default its parent."""
    import difflib

    from vevolve.errors import BadInput
    from vevolve.evolve.cli import render

    with open_run(run) as archive:
        new = candidate(archive, a)
        if b is None and not new.parents:
            raise BadInput(f"Candidate {new.id[: render.SHORT]} is a seed and has no parent; name a second candidate.")
        old = candidate(archive, b or new.parents[0])
    lines = difflib.unified_diff(
        old.source.splitlines(), new.source.splitlines(), old.id[: render.SHORT], new.id[: render.SHORT], lineterm=""
    )
    text = "\n".join(lines)
    if as_json:
        render.print_json({"a": new.id, "b": old.id, "idea": new.idea, "diff": text})
        return
    if new.idea:
        render.say(render.line(new.idea, 200))
    if side and text:
        from vevolve.evolve.cli.beside import beside

        beside(old.source, new.source, old.id[: render.SHORT], new.id[: render.SHORT])
        return
    render.code(text or "The programs are the same.", "diff")


def export(
    id: Annotated[
        str | None, typer.Argument(help="A candidate's id, or a unique beginning of it.", metavar="ID")
    ] = None,
    run: RunOption = None,
    everything: Annotated[
        Path | None, typer.Option("--all", metavar="DIR", help="A new folder for the whole run, for a colleague.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new .py or .md file; by default the standard output.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a candidate's program to a file.

    A header says where it comes from, and that it runs outside the sandbox from then on. Parameters are written beside
    it. With --all: every valid program, the front, tables, reports and a copy of the run, in a folder of their own.
    """
    from vevolve.archive import bundle
    from vevolve.archive.export import export as text_of
    from vevolve.archive.export import write
    from vevolve.errors import BadInput
    from vevolve.evolve.cli import render

    if (id is None) == (everything is None):
        raise BadInput("Name either one candidate or a folder with --all; `vevolve front` lists the best.")
    if everything is not None:
        with open_run(run) as archive:
            files = bundle.write(archive, everything)
        if as_json:
            render.print_json({"files": [str(path) for path in files]})
        else:
            render.say(f"Wrote {len(files)} files into {everything}; README.md there says what is what.")
        return
    assert id is not None
    with open_run(run) as archive:
        record, started = candidate(archive, id), archive.started
    written = [] if out is None else write(record, started, out)
    if as_json:
        text = text_of(record, started) if out is None else None
        render.print_json({"id": record.id, "files": [str(path) for path in written], "text": text})
    elif out is None:
        render.code(text_of(record, started))
    else:
        names = " and ".join(map(str, written))
        render.say(f"Wrote {names}. It runs outside the sandbox now: read it before you run it.")


def rm(
    run: Annotated[str, typer.Argument(help="A run's name, a unique part of it, or its directory.", metavar="RUN")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a run.

    Only its own files: whatever else lies in its directory stays.
    """
    from vevolve.archive import database
    from vevolve.evolve.cli import render
    from vevolve.evolve.run import find_run

    directory = find_run(run)
    folder = directory.path
    with open_run(str(folder)) as archive:  # refuses a database that is not a run's
        own = directory.own_files(archive)
    if not yes and not typer.confirm(f"Delete the run {folder} for good?"):
        render.say("Nothing was deleted.")
        raise typer.Exit(1)
    with database.lock(directory.archive):
        for path in [*own, *database.files(directory.archive)]:
            path.unlink(missing_ok=True)
    left = sorted(path.name for path in folder.iterdir())
    if not left and folder.resolve() != Path.cwd():
        folder.rmdir()
    stays = f"; not its own, so left there: {render.line(', '.join(left), 200)}" if left else ""
    render.say(f"Deleted the run {folder}{stays}.")


# ------------------------------------------------------------------------------------------------------------ shared


def open_run(run: str | None) -> Archive:
    """The archive of a run, by default of the latest, opened for reading."""
    from vevolve.archive import Archive
    from vevolve.evolve.run import find_run

    return Archive.open(find_run(run).archive)


def candidate(archive: Archive, id: str) -> Record:
    """The candidate whose id begins so.

    Raises:
        BadInput: none of this run does, and the message says which run was searched and which one has it; or several
            do.
    """
    from vevolve.errors import BadInput, UnknownName

    try:
        return archive.record(id)
    except UnknownName as error:
        here = archive.path.parent
        run = shlex.quote(str(here))
        other = _elsewhere(id, here)
        cure = (
            f"The run {other} has one: add --run {shlex.quote(str(other))}."
            if other
            else f"`vevolve ls {run}` lists its candidates; --run names another run."
        )
        raise BadInput(f"No candidate '{id}' in the run {here}. {cure}") from error


def _elsewhere(id: str, here: Path) -> Path | None:
    """Another run under runs/ that has such a candidate, the newest first."""
    from vevolve.archive import Archive
    from vevolve.errors import VEvolveError
    from vevolve.evolve.run import RUNS, RunDirectory

    for path in sorted((path for path in RUNS.glob("*") if RunDirectory(path).is_run), reverse=True):
        if path.resolve() == here.resolve():
            continue
        with contextlib.suppress(VEvolveError), Archive.open(path) as archive:
            archive.record(id)
            return path
    return None


def split_of(archive: Archive, split: str | None) -> str:
    """The split asked for; without one, `select` where anything was examined on it. Raises `UnknownName`."""
    from vevolve.errors import UnknownName

    if split is not None and split not in ("search", "select"):  # what is sealed is on no front
        raise UnknownName("split", split, ["search", "select"])
    return split or ("select" if archive.front("select") else "search")


def _front_json(archive: Archive, split: str, family: str) -> list[dict[str, Any]]:
    """The candidates on a front, the one that it would miss most first, with their points on it and no others."""
    on_it: dict[str, list[Point]] = {}
    for record, point in archive.front_points(split, family):
        on_it.setdefault(record.id, []).append(point)
    best = archive.front(split, family)
    certified, compared = _certified(archive), _elites(archive)
    return [
        dataclasses.replace(record, points=tuple(on_it[record.id])).to_json(rank=1)
        | compared.to_json(record)
        | {"certificates": {label: text for (id, label), text in certified.items() if id == record.id}}
        for record in best
    ]


def print_front(archive: Archive, split: str, family: str = "") -> None:
    """The front on one split as a table, the seed's points beneath it."""
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.tables import table

    axes = archive.objectives_on(family)
    names = [axis.name for axis in axes]
    pairs = archive.front_points(split, family)
    certified, compared = _certified(archive), _elites(archive)
    count = f"{len(pairs)} {'point' if len(pairs) == 1 else 'points'}"
    where = f"the {split} split{f', family {family}' if family else ''}"
    render.say(f"{count} on the front of {where}; hypervolume {archive.hypervolume(split, family):.4f}")
    rows = [
        _point_row(
            archive, record, point, "the seed" if record.operation == "seed" else record.idea, certified, compared
        )
        for record, point in pairs
    ]
    seeds = [record for record in archive.records(operation="seed") if record.valid]
    shown = {(record.id, point.label) for record, point in pairs}
    rows += [
        _point_row(archive, record, point, "the seed, for comparison", certified, compared)
        for record in seeds
        for point in record.points_on(split, family)
        if (record.id, point.label) not in shown
    ]
    marks = [*(["on fresh documents"] if compared.compares else []), *(["certificate"] if certified else [])]
    if rows:
        table(["point", *names, "id", *marks, "idea"], rows, right=names)
    if family:
        return
    for one in compared.standing:
        render.say(f"{one.candidate[: render.SHORT]} {one}")
    timed = archive.started.latency
    if timed and split == "select":
        render.say(f"\nof those timed on {render.line(timed.gpu)}, on a workload of its own:")
        print_front(archive, split, timed.family)


def _point_row(
    archive: Archive,
    record: Record,
    point: Point,
    idea: str,
    certified: dict[tuple[str, str], str],
    compared: Elites,
) -> list[str]:
    from vevolve.evolve.cli import render

    marks = [_place(compared, record)] if compared.compares else []
    marks += [certified.get((record.id, point.label), "-")] if certified else []
    figures = render.figures(point, archive.objectives_on(point.family))
    return [point.label or "-", *figures, record.id[: render.SHORT], *marks, idea]


def _place(compared: Elites, record: Record) -> str:
    known, place = compared.compared.get(record.id), compared.place(record)
    return f"{place} (e {known.evidence:.3g} of {1 / known.level:.3g})" if known else place or "-"


def _elites(archive: Archive) -> Elites:
    """What fresh documents say of promoted candidates."""
    from vevolve.archive.elites import elites

    return elites(archive)


def _certified(archive: Archive) -> dict[tuple[str, str], str]:
    """(candidate, label of a point) -> its latest certificate in this log that stands, else one that failed since."""
    from vevolve.archive import certificates

    return {
        (id, registered.point["label"]): certificates.short(registered.statement) + failed
        for id, found in certificates.ranked(archive).items()
        for registered, failed in found
    }


def _row(record: Record, rank: int | None) -> list[str]:
    from vevolve.evolve.cli.render import SHORT, gain

    told = record.idea or record.first_error_line
    return [
        str(record.iteration),
        record.id[:SHORT],
        record.parents[0][:SHORT] if record.parents else "-",
        record.operation,
        record.proposer,
        record.status,
        "-" if rank is None else str(rank),
        gain(record.hypervolume_gain),
        told if record.valid else record.first_error_line or told,
    ]


def _describe(archive: Archive, record: Record, rank: int | None) -> None:
    from vevolve.evolve.cli import render

    parent = archive.record(record.parents[0]) if record.parents else None
    render.say(record.id)
    came = f"iteration {record.iteration}, {record.operation} by {render.line(record.proposer)}"
    lineage = "".join(f", from {one[: render.SHORT]}" for one in record.parents)
    render.say(f"{came}{lineage}; rank {rank or '-'}; hypervolume gain {render.gain(record.hypervolume_gain)}")
    if record.idea:
        render.say(f"idea: {render.line(record.idea, 400)}")
    if record.operation == "seed":
        render.say("the start of the run, with which everything else is compared")
    elif record.promoted:
        render.say("promoted: valid on both splits, and it gained on the select split as well")
    if said := _elites(archive).sentence(record):
        render.say(said)
    if record.selected:
        render.say("\non the search split, which parents and prompts see:")
    render.verdict(record.verdict, archive.objectives, parent.points if parent else ())
    if record.selected:
        render.say("\non the select split, which decides promotion:")
        render.verdict(record.selected, archive.objectives, parent.points if parent else ())
    if timed := archive.measured().get(record.id):
        gpu = archive.started.latency.gpu if archive.started.latency else "a GPU"
        render.say(f"\ntimed on {render.line(gpu)}, beside {timed.incumbent[: render.SHORT]}:")
        render.say(render.clean(timed.feedback))


def _list_runs(as_json: bool) -> None:
    from vevolve.archive import Archive
    from vevolve.errors import ArchiveError
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.tables import table
    from vevolve.evolve.run import RUNS, RunDirectory

    rows: list[dict[str, Any]] = []
    for path in sorted(path for path in RUNS.glob("*") if RunDirectory(path).is_run):
        row: dict[str, Any] = {"run": str(path), "error": None}
        try:
            with Archive.open(path) as archive:
                totals = archive.totals()
                split = split_of(archive, None)
                row |= {
                    "problem": archive.started.problem,
                    "seed": archive.started.seed,
                    "evaluations": totals.evaluations,
                    "valid": totals.valid,
                    "usd": totals.usd,
                    "hypervolume": archive.hypervolume(split),
                }
        except ArchiveError as error:
            row["error"] = str(error)
        rows.append(row)
    if as_json:
        render.print_json(rows)
        return
    names = ["problem", "seed", "evaluations", "valid", "usd", "hypervolume", "run"]
    whole = [row for row in rows if not row["error"]]
    if not rows:
        render.say(f"No runs under ./{RUNS} yet.")
    if whole:
        cells = [[render.number(row[name]) for name in names] for row in whole]
        table(names, cells, right=names[2:-1], whole=True)
    for row in rows:
        if row["error"]:
            render.say(f"{row['run']}: {render.line(row['error'], 400)}")


def _status(status: str | None) -> str | None:
    from typing import get_args

    from vevolve.errors import UnknownName
    from vevolve.types import Status

    if status is not None and status not in get_args(Status):
        raise UnknownName("status", status, get_args(Status))
    return status


def _order(order: str) -> Literal["told", "newest", "gain"]:
    from vevolve.errors import UnknownName

    orders: dict[str, Literal["told", "newest", "gain"]] = {"told": "told", "newest": "newest", "gain": "gain"}
    if order not in orders:
        raise UnknownName("order", order, orders)
    return orders[order]
