"""Commands that make something new: new problem, traces record."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from vevolve.evolve.cli.options import AsJson

new = typer.Typer(help="Start something new.", no_args_is_help=True, rich_markup_mode=None)
traces = typer.Typer(help="Recorded attention.", no_args_is_help=True, rich_markup_mode=None)


@new.command("problem")
def new_problem(
    name: Annotated[str, typer.Argument(help="The problem's name, a Python identifier.", metavar="NAME")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder in which the problem's own folder is made.")
    ] = Path(),
) -> None:
    """Scaffold a problem.

    It runs as it stands and passes the conformance suite; the text in it says what to replace.
    """
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.typed import typed
    from vevolve.evolve.scaffold import new_problem as scaffold

    folder = scaffold(name, out)
    render.say(f"Wrote {folder}: problem.py judges, task.md asks, seeds/ starts, cheats/ must not win.")
    where = shlex.quote(str(folder))
    render.say(typed(f"  vevolve check problem {where}"))
    render.say(typed(f"  vevolve run seed --problem {where} --evaluations 50"))


@traces.command("record")
def record(
    text: Annotated[list[Path], typer.Option(metavar="FILE", help="A text file; give several for several traces.")],
    out: Annotated[Path, typer.Option(metavar="FILE|DIR", help="The trace; with several texts a folder.")],
    model: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="A Hugging Face causal model; the default needs no network.")
    ] = "SmolLM2-135M-Instruct",
    tokens: Annotated[int | None, typer.Option(min=2, metavar="N", help="At most so many tokens of each text.")] = None,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Decode steps: the last tokens of each text.")] = 8,
    queries: Annotated[
        int, typer.Option(min=1, metavar="N", help="Queries that are kept, decode steps included.")
    ] = 32,
    layers: Annotated[
        str | None, typer.Option(metavar="0,2,4", help="Layers; by default the recorder's choice.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="search, select or sealed.")] = "search",
    as_json: AsJson = False,
) -> None:
    """Record a model's attention on your own texts.

    Stores queries, keys and values after RoPE, one trace a text, for `vevolve eval FILE --traces TRACE`.
    """
    from vevolve.errors import UnknownName
    from vevolve.evaluators.sparse_decode.recorder import record_files
    from vevolve.evolve.cli import render
    from vevolve.types import Split

    splits: dict[str, Split] = {"search": "search", "select": "select", "sealed": "sealed"}
    if split not in splits:
        raise UnknownName("split", split, splits)
    written = record_files(
        model, text, out, layers=_numbers(layers), steps=steps, queries=queries, tokens=tokens, split=splits[split]
    )
    if as_json:
        render.print_json([str(path) for path in written])
        return
    for path in written:
        render.say(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB).")


def _numbers(text: str | None) -> list[int] | None:
    from vevolve.errors import BadInput

    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput(f"--layers takes numbers and commas, such as 0,8,16; found '{text}'.") from error
