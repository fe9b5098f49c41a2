"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Run = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="A run's name, a unique part of it, or its directory; default: the latest."),
]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run", metavar="RUN", help="A run's name, a unique part of it, or its directory; default: the latest."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AllowDegraded = Annotated[
    bool, typer.Option("--allow-degraded", help="Go on where the sandbox is below its minimum level.")
]
