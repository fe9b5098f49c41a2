"""Commands that examine: eval (a program) and check problem (a problem)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vevolve.evolve.cli.options import AllowDegraded, AsJson

if TYPE_CHECKING:
    from vevolve.evaluators.contract import Problem
    from vevolve.sandbox import Sandbox
    from vevolve.types import Candidate, Verdict

QUESTIONS = 2
"""Questions of every kind that a program is asked inside a model."""

check = typer.Typer(help="Check a problem.", no_args_is_help=True, rich_markup_mode=None)


def evaluate(
    file: Annotated[
        str, typer.Argument(metavar="FILE|SEED", help="A program, or a shipped seed such as sparse_decode/quest.")
    ],
    problem: Annotated[
        str | None,
        typer.Option(
            "--problem", "-p", metavar="NAME|DIR", help="The problem's name or folder; a shipped seed implies it."
        ),
    ] = None,
    traces: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Recorded traces to examine on, instead of the shipped ones."),
    ] = None,
    split: Annotated[str, typer.Option(metavar="search|select", help="select is what decides promotion.")] = "search",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Judge it inside this language model instead: smollm2 (offline), a folder, or a Hugging Face name.",
        ),
    ] = None,
    point: Annotated[
        str | None, typer.Option(metavar="LABEL", help="With --model: the operating point, such as '128 tokens'.")
    ] = None,
    latency: Annotated[
        bool | None,
        typer.Option(
            "--latency/--no-latency", help="Time a valid program on this machine's GPU; by default where there is one."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="FILE|SEED", help="What it is timed beside; by default the problem's default seed."),
    ] = None,
    allow_degraded: AllowDegraded = False,
    as_json: AsJson = False,
) -> None:
    """Examine one program and print the verdict.

    It runs in the sandbox. On an NVIDIA GPU a valid program of a problem that can be timed is timed as well. Exits with
    1 where the verdict is invalid.
    """
    from vevolve.errors import BadInput
    from vevolve.evaluators.contract import load
    from vevolve.evaluators.inside.stage import judge
    from vevolve.evaluators.programs import read_program
    from vevolve.evolve.cli import render, timed
    from vevolve.evolve.setup import locate
    from vevolve.types import Seed

    if point is not None and model is None:
        raise BadInput("--point says where a model judges; name one with --model.")
    if model is not None and (latency or against):
        raise BadInput("A model judges no latency: give either --model or --latency and --against.")
    place = locate(file, problem)
    program, loaded = read_program(place.program), load(place.problem)
    watch = timed.prepare(loaded, latency if model is None else False, against, allow_degraded)
    with open_sandbox(loaded, allow_degraded) as sandbox:
        if model is not None:
            label = point or loaded.headline
            if loaded.headline:  # else it has no model stage, and is refused
                sys.stderr.write(f"{render.clean(_work(model, label))}\n")
            subject = sandbox.subject(program)
            verdict = judge(loaded, subject, label, Seed(b"vevolve eval"), model=model, each=QUESTIONS)
        else:
            verdict = _examine(loaded, sandbox, program, traces or [], split)
    if as_json:
        told = timed.to_json(watch(program), watch) if verdict.valid else {}
        render.print_json({"id": program.id, **verdict.model_dump(mode="json"), **told})
    else:
        render.say(program.id)
        render.verdict(verdict, loaded.objectives)
        if verdict.valid:
            timed.say(watch(program), watch)
    if not verdict.valid:
        raise typer.Exit(1)


def _work(model: str, label: str) -> str:
    """What is to be done inside a model. How long it takes depends on program, model and machine: nobody knows."""
    from vevolve.evaluators.inside.cases import KINDS, TOKENS

    questions = QUESTIONS * len(KINDS)
    return (
        f"Judging inside {model} at {label}: {questions + 2} contexts of at most {TOKENS:,} tokens (held-out prose and "
        f"code, {questions} questions), each read by the model and then compressed by the program."
    )


def _examine(problem: Problem, sandbox: Sandbox, program: Candidate, traces: list[Path], split: str) -> Verdict:
    from vevolve.errors import UnknownName
    from vevolve.evaluators.blame import blamed
    from vevolve.evaluators.examination import examine, examine_workload
    from vevolve.types import Seed

    if split not in ("search", "select"):
        raise UnknownName("split to examine on", split, ["search", "select"])
    # The same randomness each time, so that two programs are compared on equal terms.
    seed = Seed(b"vevolve eval")
    subject = sandbox.subject(program)
    if traces:
        with blamed(problem.name, problem.folder):
            workload = problem.workload_from(traces, seed)
        return examine_workload(problem, subject, workload)
    return examine(problem, subject, seed, promotion=split == "select")


def open_sandbox(problem: Problem, allow_degraded: bool) -> Sandbox:
    """A sandbox for a problem's arrays; one line on stderr below the highest level.

    Raises `SandboxUnavailable` below the minimum.
    """
    from vevolve.evolve.cli import render
    from vevolve.sandbox import Sandbox

    sandbox = Sandbox(arrays=problem.arrays, allow_degraded=allow_degraded)
    render.warn_of_level(sandbox.containment)
    return sandbox


@check.command("problem")
def check_problem(
    problem: Annotated[str, typer.Argument(help="A problem's folder or name.", metavar="NAME|DIR")],
    allow_degraded: AllowDegraded = False,
    as_json: AsJson = False,
) -> None:
    """Run the conformance suite on a problem.

    Every program runs in the sandbox. Exits with 1 where a check fails.
    """
    from vevolve.evaluators.contract import load
    from vevolve.evaluators.testing import check as conform
    from vevolve.evolve.cli import render

    loaded = load(problem)
    with open_sandbox(loaded, allow_degraded) as sandbox:
        findings = conform(loaded, sandbox.subject)
        level = sandbox.containment.level
    passed = sum(finding.passed for finding in findings)
    if as_json:
        render.print_json([finding.model_dump() for finding in findings])
    else:
        for finding in findings:
            render.say(f"{'passed' if finding.passed else 'FAILED'}  {finding.check}")
            if finding.detail:
                render.say(f"        {render.line(finding.detail, 1000)}")
        render.say(f"{loaded.name}: {passed} of {len(findings)} checks passed, sandbox level {level}")
    if passed < len(findings):
        raise typer.Exit(1)
