"""What a run says at its end: the front, what was gained on the seed, and what to type next."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from vevolve.archive.improvements import NOTICEABLE
from vevolve.evolve.cli import read, render
from vevolve.evolve.cli.typed import typed
from vevolve.evolve.progress import improvements

if TYPE_CHECKING:
    from vevolve.archive import Archive
    from vevolve.evolve.api import Run


def conclude(run: Run, as_json: bool, stopped: bool) -> int:
    """Print the end of a run. The exit code: 3 where the budget ended and no proposed program was valid, else 0."""
    from vevolve.evolve.cli import DONE, NOTHING_VALID

    archive = run.archive
    totals = archive.totals()
    if as_json:
        sys.stdout.write(json.dumps(_facts(run, archive), allow_nan=False) + "\n")
    else:
        _tell(run, archive)
    return DONE if totals.valid or stopped else NOTHING_VALID


def nothing_left(run: Run, as_json: bool) -> int:
    """Where a run was resumed to totals that it has reached: one line that says so. The exit code."""
    from vevolve.evolve.cli import DONE, NOTHING_VALID

    said = "; ".join(one.said for one in run.reached)
    text = f"Nothing to do: {said}. Go on with: {_resume(run)}\n"
    if as_json:
        sys.stdout.write(json.dumps(_facts(run, run.archive), allow_nan=False) + "\n")
        sys.stderr.write(text)
    else:
        sys.stdout.write(text)
    return DONE if run.archive.totals().valid else NOTHING_VALID


def tell_kept(run: Run) -> None:
    """After a failure: nothing that was told is lost, and how to go on."""
    if command := _resume(run):
        sys.stdout.flush()
        sys.stderr.write(f"Everything so far is kept; go on with: {command}\n")


def way_back(run: Run) -> str:
    """What is said where a run is left at once. Whatever was told is in the archive, in whatever state this is read."""
    if not run.directory.is_run:
        return "\nStopped before anything was examined.\n"
    command = typed(f"vevolve resume {shlex.quote(str(run.directory.path))}")
    with contextlib.suppress(Exception):
        command = _resume(run) or command
    return f"\nStopped. Go on with:\n  {command}\n"


def _tell(run: Run, archive: Archive) -> None:
    totals = archive.totals()
    render.say()
    read.print_front(archive, read.split_of(archive, None))
    render.say()
    failed = ", ".join(f"{count} {status}" for status, count in totals.failures.items())
    spent = f", ${totals.usd:.4f}" if totals.usd else ""
    render.say(f"{totals.evaluations} evaluations, {totals.valid} valid{spent}{f' ({failed})' if failed else ''}.")
    gains = _gains(archive)
    if gains:
        split = read.split_of(archive, None)
        render.say(f"\nEvolved programs beat the seed on the {split} split, and are no worse in anything else, at")
        for line in gains:
            render.say(f"  {line}")
    elif not any(seed.points_on(read.split_of(archive, None)) for seed in archive.records(operation="seed")):
        render.say(f"The seed has no point on the {read.split_of(archive, None)} split to compare with.")
    else:
        render.say(
            f"No evolved program is better than the seed by {NOTICEABLE:.1%} or more yet; "
            "more evaluations or another model may help."
        )
    render.say("\nLook closer:")
    for command in _commands(run, archive):
        render.say(f"  {command}")
    render.say(f"Go on:\n  {_resume(run)}")
    if set(run.config.models) == {"offline"}:
        render.say("Go on with a hosted model (ANTHROPIC_API_KEY or OPENAI_API_KEY set):")
        where = shlex.quote(str(run.directory.path))
        total = 2 * max(run.config.evaluations, totals.evaluations)
        time = "".join(f" --seconds {one.enough:g}" for one in run.reached if one.limit == "seconds")
        render.say(typed(f"  vevolve resume {where} --model anthropic:NAME --evaluations {total} --usd 5{time}"))


def _facts(run: Run, archive: Archive) -> dict[str, Any]:
    """The same as a value."""
    totals = archive.totals()
    split = read.split_of(archive, None)
    return {
        "kind": "summary",
        "run": str(run.directory.path),
        "evaluations": totals.evaluations,
        "valid": totals.valid,
        "usd": totals.usd,
        "split": split,
        "hypervolume": archive.hypervolume(split),
        "front": [record.id for record in archive.front(split)],
        "gains": _gains(archive),
        "resume": _resume(run),
    }


def _gains(archive: Archive) -> list[str]:
    """What was won over the seed, a line for each of its operating points."""
    split = read.split_of(archive, None)
    better = {axis.name: "lower" if axis.direction == "min" else "higher" for axis in archive.objectives}
    lines: list[str] = []
    found = improvements(archive, split, NOTICEABLE)
    for over in {id(gain.over): gain.over for gain in found}.values():
        own = [
            f"{gain.objective} {gain.share:.1%} {better[gain.objective]} ({gain.candidate.id[: render.SHORT]})"
            for gain in found
            if gain.over is over
        ]
        lines.append(f"{render.line(over.label) or 'its point'}: {', or '.join(own)}")
    return lines


def _resume(run: Run) -> str | None:
    """The command that goes on, as it can be typed here; None where nothing began."""
    command = run.resume_command
    return command and typed(command)


def _commands(run: Run, archive: Archive) -> list[str]:
    where = shlex.quote(str(run.directory.path))
    best = archive.front(read.split_of(archive, None))
    evolved = next((record for record in best if record.parents), None)
    commands = [f"vevolve front {where}"]
    if evolved is not None:
        short = evolved.id[: render.SHORT]
        commands += [f"vevolve show {short} --run {where}", f"vevolve diff {short} --run {where}"]
    return [typed(command) for command in commands]
