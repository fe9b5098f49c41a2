"""Commands that evolve: run and resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vevolve.evolve.cli.options import AllowDegraded, Run

if TYPE_CHECKING:
    from vevolve.evolve import api
    from vevolve.evolve.config import Config

Problem = Annotated[
    str | None,
    typer.Option(
        "--problem", "-p", metavar="NAME|DIR", help="The problem's name or folder, where SEED does not imply it."
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="offline, openai:NAME, anthropic:NAME, mailbox:DIR or replay:RUN. Several share the work, "
        "by weight where given: openai:NAME=0.7.",
    ),
]
Evaluations = Annotated[
    int | None,
    typer.Option("--evaluations", "-n", metavar="N", help="Candidates to examine in all, earlier sessions included."),
]
Usd = Annotated[float | None, typer.Option(metavar="DOLLARS", help="Dollars at most, calls in flight included.")]
Seconds = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Seconds at most, pauses between sessions excluded.")
]
Workers = Annotated[
    str | None, typer.Option(metavar="N|inline", help="How many Ray workers, or inline for none. Default: one a core.")
]
RayAddress = Annotated[str | None, typer.Option(metavar="ADDRESS", help="A running Ray cluster to join.")]
BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="A server that speaks the provider's interface, such as vLLM.")
]
Price = Annotated[
    list[str] | None,
    typer.Option(metavar="MODEL=IN,OUT", help="Dollars per million tokens, over the shipped table. Repeatable."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings as TOML; default: vevolve.toml where there is one."),
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON, then a summary.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a model that costs money.")]


def run(
    seed: Annotated[
        str | None,
        typer.Argument(metavar="SEED", help="A shipped seed such as sparse_decode/quest, or a program's file."),
    ] = None,
    problem: Problem = None,
    model: Models = None,
    evaluations: Evaluations = None,
    usd: Usd = None,
    seconds: Seconds = None,
    workers: Workers = None,
    ray_address: RayAddress = None,
    base_url: BaseUrl = None,
    price: Price = None,
    style: Annotated[
        str | None, typer.Option(metavar="diff|rewrite", help="What a model is asked for: edits, or the whole program.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(metavar="T", help="Of model calls; by default not sent.")] = None,
    max_output_tokens: Annotated[int | None, typer.Option(metavar="N", help="The most tokens of one answer.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Seconds that a model may stay silent.")
    ] = None,
    retries: Annotated[int | None, typer.Option(metavar="N", help="Repetitions of a failed model call.")] = None,
    lag: Annotated[int | None, typer.Option(metavar="N", help="Iterations in flight.")] = None,
    allow_degraded: AllowDegraded = False,
    directory: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the run is kept; default: new under runs/.")
    ] = None,
    config: ConfigFile = None,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print the first prompt and call nothing.")
    ] = False,
    yes: Yes = False,
    as_json: JsonLines = False,
) -> None:
    """Evolve a seed until the budget is spent.

    Ctrl-C finishes what is in flight and ends in order, a second one at once; `vevolve resume` goes on after either.
    Settings come from flags, the environment (VEVOLVE_...), a TOML file and defaults, in that order.
    """
    from vevolve.evolve import api
    from vevolve.evolve.cli import render
    from vevolve.evolve.config import Config

    flags = {
        "seed": seed,
        "problem": problem,
        "models": tuple(model) if model else None,
        "evaluations": evaluations,
        "usd": usd,
        "seconds": seconds,
        "workers": workers,
        "ray_address": ray_address,
        "base_url": base_url,
        "prices": _prices(price),
        "style": style,
        "temperature": temperature,
        "max_output_tokens": max_output_tokens,
        "timeout": timeout,
        "retries": retries,
        "lag": lag,
        "allow_degraded": allow_degraded or None,
        "directory": directory,
    }
    settings = Config.load(flags, file=config)
    if show_prompt:
        prompt = api.preview(settings, measure=True).prompt
        if as_json:
            render.print_json(prompt.model_dump())
        else:
            render.say(f"{render.clean(prompt.system)}\n\n{render.clean(prompt.user)}")
        return
    started = api.start(settings)
    _tell_cost(settings, settings.evaluations, ask=not yes)
    raise typer.Exit(_drive(started, as_json))


def resume(
    run: Run = None,
    model: Models = None,
    evaluations: Evaluations = None,
    usd: Usd = None,
    seconds: Seconds = None,
    workers: Workers = None,
    ray_address: RayAddress = None,
    base_url: BaseUrl = None,
    price: Price = None,
    allow_degraded: AllowDegraded = False,
    yes: Yes = False,
    as_json: JsonLines = False,
) -> None:
    """Go on with a run to the totals asked for.

    What is not given stays as it was.
    """
    from vevolve.evolve import api

    settings = {
        "models": tuple(model) if model else None,
        "evaluations": evaluations,
        "usd": usd,
        "seconds": seconds,
        "workers": workers,
        "ray_address": ray_address,
        "base_url": base_url,
        "prices": _prices(price),
        "allow_degraded": allow_degraded or None,
    }
    resumed = api.resume(run, settings)
    left = resumed.config.evaluations - resumed.archive.totals().evaluations
    if left > 0:
        _tell_cost(resumed.config, left, ask=not yes)
    raise typer.Exit(_drive(resumed, as_json))


def _drive(started: api.Run, as_json: bool) -> int:
    """Run to the end and show it; the exit code."""
    import os
    import signal

    from vevolve.archive.events import Resumed, Started
    from vevolve.evolve.cli import FAILED, panel, render, summary

    with started.interruptible():
        stop, stopped = signal.getsignal(signal.SIGINT), False

        def interrupted(number: int, frame: Any) -> None:
            nonlocal stopped
            stopped = True
            # os.write, since a handler may run in the middle of a buffered write.
            os.write(2, b"\nFinishing what is in flight; Ctrl-C again quits at once.\n")
            if callable(stop):
                stop(number, frame)

        signal.signal(signal.SIGINT, interrupted)
        try:
            with panel.open_panel(started, as_json) as show:
                for event in started:
                    if isinstance(event, Started | Resumed):
                        render.warn_of_level(event.containment)
                    show(event)
        except KeyboardInterrupt:
            # Threads and Ray actors would be waited for on the way out, and "at once" was asked for.
            summary.quit_now(started)
            os._exit(FAILED)
        except Exception:
            summary.tell_kept(started)
            raise
    return summary.conclude(started, as_json, stopped)


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
        cost = f"about ${each:.4f} a call of {names} at most, ${each * evaluations:.2f} for {evaluations} evaluations"
    sys.stderr.write(f"Estimated cost: {cost}; {limit}.\n")
    if ask and config.usd is None and sys.stdin.isatty() and not typer.confirm("Go on?", err=True):
        raise typer.Abort


def _prices(given: list[str] | None) -> dict[str, list[float]] | None:
    """`MODEL=INPUT,OUTPUT` as the settings take it."""
    from vevolve.errors import BadInput

    if not given:
        return None
    prices: dict[str, list[float]] = {}
    for text in given:
        model, _, figures = text.rpartition("=")
        try:
            prices[model] = [float(figure) for figure in figures.split(",")]
        except ValueError:
            prices.pop(model, None)
        if not model or len(prices.get(model, ())) != 2:
            raise BadInput(f"--price takes MODEL=INPUT,OUTPUT in dollars per million tokens; found '{text}'.")
    return prices
