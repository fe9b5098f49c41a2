"""Commands that evolve: run and resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vevolve.evolve.cli import settings
from vevolve.evolve.cli.options import AllowDegraded, Run

if TYPE_CHECKING:
    from vevolve.evolve import api
    from vevolve.evolve.config import Config


def run(
    seed: Annotated[
        str | None,
        typer.Argument(
            metavar="SEED",
            help="A shipped seed such as sparse_decode/quest, or a program's file; default: sparse_decode/vattention.",
        ),
    ] = None,
    problem: Annotated[
        str | None,
        typer.Option(
            "--problem", "-p", metavar="NAME|DIR", help="The problem's name or folder, where SEED does not imply it."
        ),
    ] = None,
    model: settings.Models = None,
    evaluations: settings.FirstEvaluations = None,
    usd: settings.Usd = None,
    seconds: settings.Seconds = None,
    workers: settings.Workers = None,
    ray_address: settings.RayAddress = None,
    base_url: settings.BaseUrl = None,
    price: settings.Price = None,
    style: settings.Style = None,
    temperature: settings.Temperature = None,
    max_output_tokens: settings.MaxOutputTokens = None,
    timeout: settings.Timeout = None,
    retries: settings.Retries = None,
    lag: Annotated[int | None, typer.Option(metavar="N", help="Iterations in flight.")] = None,
    confirm: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most fresh documents for a promoted program and its incumbent; 0: none."),
    ] = None,
    latency: Annotated[
        bool | None,
        typer.Option(
            "--latency/--no-latency",
            help="Time what is promoted on this machine's GPU, an objective more; by default where there is one.",
        ),
    ] = None,
    allow_degraded: AllowDegraded = False,
    directory: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the run is kept; default: new under runs/.")
    ] = None,
    config: settings.ConfigFile = None,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print the first prompt and the estimated cost, and call nothing.")
    ] = False,
    yes: settings.Yes = False,
    as_json: settings.JsonLines = False,
) -> None:
    """Evolve a seed until the budget is spent.

    Without arguments: 100 evaluations of sparse_decode/vattention by the offline mutator, which needs no key.

    Where SEED is a file, a .safetensors file of the same stem beside it is read as its parameters. Ctrl-C finishes what
    is in flight and ends in order, a second one at once; `vevolve resume` goes on after either. Settings come from
    flags, the environment (VEVOLVE_...), a TOML file and defaults, in that order.
    """
    from vevolve.evolve import api
    from vevolve.evolve.cli import render
    from vevolve.evolve.config import Config

    flags = settings.changed(
        model=model,
        evaluations=evaluations,
        usd=usd,
        seconds=seconds,
        workers=workers,
        ray_address=ray_address,
        base_url=base_url,
        price=price,
        style=style,
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        timeout=timeout,
        retries=retries,
        allow_degraded=allow_degraded,
    )
    fixed = {"seed": seed, "problem": problem, "lag": lag, "confirm": confirm, "directory": directory}
    fixed["latency"] = latency
    loaded = Config.load(flags | fixed, file=config)
    if show_prompt:
        prompt = api.first_prompt(loaded)
        if as_json:
            render.print_json(prompt.model_dump())
        else:
            render.say(f"{render.clean(prompt.system)}\n\n{render.clean(prompt.user)}")
        _tell_cost_if_known(loaded)
        return
    started = api.start(loaded)
    _tell_cost(loaded, loaded.evaluations, ask=not yes)
    raise typer.Exit(_drive(started, as_json))


def resume(
    run: Run = None,
    model: settings.Models = None,
    evaluations: settings.Evaluations = None,
    usd: settings.Usd = None,
    seconds: settings.Seconds = None,
    workers: settings.Workers = None,
    ray_address: settings.RayAddress = None,
    base_url: settings.BaseUrl = None,
    price: settings.Price = None,
    style: settings.Style = None,
    temperature: settings.Temperature = None,
    max_output_tokens: settings.MaxOutputTokens = None,
    timeout: settings.Timeout = None,
    retries: settings.Retries = None,
    allow_degraded: AllowDegraded = False,
    config: settings.NewSettings = None,
    yes: settings.Yes = False,
    as_json: settings.JsonLines = False,
) -> None:
    """Go on with a run to the totals asked for.

    What neither flags nor the environment (VEVOLVE_...) nor a file named by --config give stays as it was.
    """
    from vevolve.evolve import api
    from vevolve.evolve.cli import summary

    flags = settings.changed(
        model=model,
        evaluations=evaluations,
        usd=usd,
        seconds=seconds,
        workers=workers,
        ray_address=ray_address,
        base_url=base_url,
        price=price,
        style=style,
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        timeout=timeout,
        retries=retries,
        allow_degraded=allow_degraded,
    )
    resumed = api.resume(run, flags, file=config)
    if resumed.finished:
        raise typer.Exit(summary.nothing_left(resumed, as_json))
    left = resumed.config.evaluations - resumed.archive.totals().evaluations
    if left > 0:
        _tell_cost(resumed.config, left, ask=not yes)
    raise typer.Exit(_drive(resumed, as_json))


def _drive(started: api.Run, as_json: bool) -> int:
    """Run to the end and show it; the exit code."""
    from vevolve.archive.events import Resumed, Started
    from vevolve.errors import BadProblem
    from vevolve.evolve.cli import panel, render, summary
    from vevolve.evolve.cli.interrupts import Interrupts

    show = panel.open_screen(started, as_json)
    interrupts = Interrupts(started, show, as_json)
    try:
        with interrupts:
            for event in started:
                if isinstance(event, Started | Resumed):
                    render.warn_of_level(event.containment)
                show.take(event)
    except BadProblem:  # mended, it is another problem, and this run does not go on
        raise
    except Exception:
        summary.tell_kept(started)
        raise
    else:
        return summary.conclude(started, as_json, interrupts.stopped)
    finally:
        interrupts.conclude()


def _tell_cost_if_known(config: Config) -> None:
    """What the run may cost, or what keeps that from being told, such as a key that is not set yet."""
    import sys

    from vevolve.errors import ProposerError
    from vevolve.evolve.cli.typed import typed

    try:
        _tell_cost(config, config.evaluations, ask=False)
    except ProposerError as error:
        sys.stderr.write(f"Estimated cost: not told yet. {typed(str(error))}\n")


def _tell_cost(config: Config, evaluations: int, ask: bool) -> None:
    """Before the first paid call: what it may cost. Asks on a terminal, where no dollar budget was given."""
    import sys

    from vevolve.evolve import api

    if set(config.models) == {"offline"}:
        return
    each = api.preview(config).usd_per_call
    if each == 0:
        return
    names = ", ".join(config.models)
    limit = "no dollar budget is set" if config.usd is None else f"the budget is ${config.usd:g}"
    if each is None:
        cost = f"no price is known for {names}, so costs cannot be told"
    else:
        most = api.CALLS * each * evaluations
        cost = (
            f"up to ${each:.4f} a call of {names}, up to ${most:.2f} for {evaluations} evaluations "
            "(a call each and one to mend its answer; answers without a new program come on top)"
        )
    sys.stderr.write(f"Estimated cost: {cost}; {limit}.\n")
    if ask and config.usd is None and sys.stdin.isatty() and not typer.confirm("Go on?", err=True):
        raise typer.Abort
