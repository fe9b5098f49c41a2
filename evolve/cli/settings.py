"""The options that say how a run goes on, shared by run and resume, and how they become settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
FirstEvaluations = Annotated[
    int | None, typer.Option("--evaluations", "-n", metavar="N", help="Candidates to examine in all; default: 100.")
]
Usd = Annotated[float | None, typer.Option(metavar="DOLLARS", help="Dollars at most, calls in flight included.")]
Seconds = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Seconds at most, pauses between sessions excluded.")
]
Workers = Annotated[
    str | None, typer.Option(metavar="N|inline", help="How many Ray workers, or inline for none. Default: one a core.")
]
RayAddress = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A running Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="[PROVIDER=]URL",
        help="A server that speaks the provider's interface, such as vLLM. Name the provider where models of two are "
        "asked: no other sends its key there.",
    ),
]
Price = Annotated[
    list[str] | None,
    typer.Option(metavar="MODEL=IN,OUT", help="Dollars per million tokens, over the shipped table. Repeatable."),
]
Style = Annotated[
    str | None, typer.Option(metavar="diff|rewrite", help="What a model is asked for: edits, or the whole program.")
]
Temperature = Annotated[float | None, typer.Option(metavar="T", help="Of model calls; by default not sent.")]
MaxOutputTokens = Annotated[int | None, typer.Option(metavar="N", help="The most tokens of one answer.")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Seconds that a model may stay silent.")]
Retries = Annotated[int | None, typer.Option(metavar="N", help="Repetitions of a failed model call.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings as TOML; default: vevolve.toml where there is one."),
]
NewSettings = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="New values of settings as TOML; default: none.")
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON, then a summary.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a model that costs money.")]


def changed(
    *,
    model: list[str] | None,
    evaluations: int | None,
    usd: float | None,
    seconds: float | None,
    workers: str | None,
    ray_address: str | None,
    base_url: str | None,
    price: list[str] | None,
    style: str | None,
    temperature: float | None,
    max_output_tokens: int | None,
    timeout: float | None,
    retries: int | None,
    allow_degraded: bool,
) -> dict[str, Any]:
    """The settings that these options give; None for those that were not given. Raises `BadInput`."""
    return {
        "models": tuple(model) if model else None,
        "evaluations": evaluations,
        "usd": usd,
        "seconds": seconds,
        "workers": workers,
        "ray_address": ray_address,
        "base_url": base_url,
        "prices": prices(price),
        "style": style,
        "temperature": temperature,
        "max_output_tokens": max_output_tokens,
        "timeout": timeout,
        "retries": retries,
        "allow_degraded": allow_degraded or None,
    }


def prices(given: list[str] | None) -> dict[str, list[float]] | None:
    """`MODEL=INPUT,OUTPUT` as the settings take it."""
    from vevolve.errors import BadInput

    if not given:
        return None
    found: dict[str, list[float]] = {}
    for text in given:
        model, _, figures = text.rpartition("=")
        try:
            found[model] = [float(figure) for figure in figures.split(",")]
        except ValueError:
            found.pop(model, None)
        if not model or len(found.get(model, ())) != 2:
            raise BadInput(f"--price takes MODEL=INPUT,OUTPUT in dollars per million tokens; found '{text}'.")
    return found
