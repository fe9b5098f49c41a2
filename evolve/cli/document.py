"""`python -m vevolve.evolve.cli.document` writes docs/cli.md: the help of every command, as the terminal shows it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer.main

from vevolve.evolve.cli import app

PAGE = Path("docs/cli.md")
HEAD = """\
# Command line

Written by `python -m vevolve.evolve.cli.document` from the help texts; a test keeps it up to date.

Results go to the standard output, errors to the standard error as one line `error: ...`. Exit codes:

- 0: done.
- 1: failed, such as a refused key, a full disk, or a sandbox below its minimum level; or the verdict is no (`eval`,
  `check`, `attack`, `doctor`, `certify`, `audit`, `verify`).
- 2: misuse, which as it was typed or set cannot be done: an unknown name or option, a folder without a `problem.py`, an
  output file that exists already, a key that is not set, `--usd` without a known price or below the cost of one call.
- 3: the budget ended with no valid new program.

Every command that reads takes `--json`. Candidates are named by any unique beginning of their id, runs by any unique
part of their name or by their directory.
"""


def page() -> str:
    """The whole page."""
    # Help texts are wrapped to the terminal.
    os.environ["COLUMNS"], before = "100", os.environ.get("COLUMNS")
    try:
        sections = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in helps(typer.main.get_command(app))]
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n".join([HEAD, *sections])


def helps(command: Any, parent: Any = None, name: str = "vevolve") -> list[tuple[str, str]]:
    """Name and help of a command and of all below it; a group with a single command is told by that one."""
    context = command.context_class(command, info_name=name, parent=parent, **command.context_settings)
    path = context.command_path
    below = [found for key, each in getattr(command, "commands", {}).items() for found in helps(each, context, key)]
    own = [] if parent is not None and below else [(path, command.get_help(context).rstrip())]
    return own + below


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
