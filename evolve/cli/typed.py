"""Commands that a reader can type as they stand: the program's name as this shell knows it, and the pip beside it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

NAME = "vevolve"
_COMMAND = re.compile(rf"(?<![\w./'\[-]){NAME}(?= (?:--)?[a-z])")
_INSTALL = re.compile(r"(?<![\w./-])pip(?= install )")


def typed(text: str) -> str:
    """A text of ours with each command in it, such as `vevolve front` or `pip install`, as it can be typed here."""
    told = _COMMAND.sub(lambda _: program(), text)
    return _INSTALL.sub(lambda _: pip(), told)


def program() -> str:
    """What starts this very program: `vevolve` where the shell finds it by that name, else its path as called."""
    called, beside = Path(sys.argv[0]), Path(sys.executable).parent / NAME
    if called.name == NAME and called.is_file():
        own, path = called, sys.argv[0] if os.sep in sys.argv[0] else f".{os.sep}{called}"
    elif beside.is_file():  # as a module, or by another program
        own, path = beside, _near(beside)
    else:
        return f"{shlex.quote(sys.executable)} -m vevolve.evolve.cli"
    return NAME if _is_found(NAME, own) else shlex.quote(path)


def pip() -> str:
    """What installs into the environment of this program."""
    own = Path(sys.executable).parent / "pip"
    if not own.is_file():
        return f"{shlex.quote(sys.executable)} -m pip"
    return "pip" if _is_found("pip", own) else shlex.quote(_near(own))


def _is_found(name: str, own: Path) -> bool:
    """Whether a shell that is told this name starts that file."""
    found = shutil.which(name)
    return found is not None and Path(found).resolve() == own.resolve()


def _near(path: Path) -> str:
    """From the working directory where it lies below, else from the root."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
