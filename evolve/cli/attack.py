"""The command attack: hostile candidates against this machine's sandbox and a problem's verifier."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from vevolve.evolve.cli.options import AllowDegraded, AsJson

if TYPE_CHECKING:
    from vevolve.evaluators.contract import Problem
    from vevolve.evolve.attack import Attack, Outcome

COLUMNS = 120
"""A terminal's, from which on a row has its five columns side by side."""
INDENT = "    "


def attack_problem(
    problem: Annotated[
        str, typer.Option("--problem", "-p", metavar="NAME|DIR", help="The problem whose verifier is attacked.")
    ] = "sparse_decode",
    group: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only attacks of this group, such as theft or forgery.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only this attack.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="On the smallest workloads, with short deadlines.")] = False,
    allow_degraded: AllowDegraded = False,
    as_json: AsJson = False,
) -> None:
    """Attack the sandbox and a verifier with a shipped corpus of hostile candidates.

    Prints a scoreboard: attack, expected verdict, verdict, and what contained it. An attack succeeds where it wins
    anything, does harm outside its process, or gets another verdict than expected. Exits with 1 where one succeeds.
    Those that need a GPU are timed on the first one; where there is none, they are told as skipped.
    """
    from vevolve.evaluators.contract import load
    from vevolve.evolve.attack import device_siege, siege, with_gpu
    from vevolve.evolve.cli import render

    loaded = load(problem)
    attacks = _chosen(loaded, group, name)
    device = {one.name for one in with_gpu()}
    outcomes: list[Outcome] = []

    def carry_out(run: Callable[[Attack], Outcome], chosen: list[Attack]) -> None:
        for attack in chosen:
            outcomes.append(run(attack))
            if not as_json:
                _show(outcomes[-1])

    with siege(loaded, fast=fast, allow_degraded=allow_degraded) as trial:
        if not as_json:
            render.say(f"{len(attacks)} attacks on {loaded.name}, sandbox level {trial.containment.level}")
            _row("", "attack", "expected", "verdict", "contained by")
        carry_out(trial.run, [one for one in attacks if one.name not in device])
    if chosen := [one for one in attacks if one.name in device]:
        with device_siege() as run:
            carry_out(run, chosen)
    succeeded = sum(outcome.succeeded for outcome in outcomes)
    skipped = sum(outcome.verdict == "skipped" for outcome in outcomes)
    if as_json:
        render.print_json([outcome.model_dump() for outcome in outcomes])
    else:
        left_out = f"; {skipped} need a GPU and were skipped" if skipped else ""
        render.say(f"{succeeded} of {len(outcomes) - skipped} attacks succeeded{left_out}")
    if succeeded:
        raise typer.Exit(1)


def _chosen(problem: Problem, group: str | None, name: str | None) -> list[Attack]:
    """The attacks that were asked for. Raises `UnknownName`."""
    from vevolve.errors import UnknownName
    from vevolve.evolve.attack import cheats, general, with_gpu

    found = [*general(), *cheats(problem), *with_gpu()]
    if group is not None and all(group != one.group for one in found):
        raise UnknownName("group of attacks", group, {one.group for one in found})
    if name is not None and all(name != one.name for one in found):
        raise UnknownName("attack", name, [one.name for one in found])
    return [one for one in found if group in (None, one.group) and name in (None, one.name)]


def _show(outcome: Outcome) -> None:
    """One row, as soon as it is known: a whole run takes minutes."""
    mark = "WON" if outcome.succeeded else "--" if outcome.verdict == "skipped" else "ok"
    _row(mark, f"{outcome.group}/{outcome.name}", outcome.expected, outcome.verdict, outcome.contained_by)
    sys.stdout.flush()


def _row(mark: str, name: str, expected: str, verdict: str, by: str) -> None:
    """Five columns; on a terminal too narrow for them, the name and below it the rest, and no header."""
    from vevolve.evolve.cli import render

    mark, name, expected, verdict, by = (render.line(cell, 400) for cell in (mark, name, expected, verdict, by))
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or width >= COLUMNS:
        render.say(f"{mark:<3} {name:<41} {expected:<25} {verdict:<10} {by}".rstrip())
    elif mark:
        told = f"expected {expected}, was {verdict}" + (f", contained by {by}" if by else "")
        render.say(f"{mark:<3} {name}")
        render.say(textwrap.fill(told, width, initial_indent=INDENT, subsequent_indent=INDENT))
