"""Whose fault an exception is: the problem's, told with its file and line, or the harness's, left as it is."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Generator
from pathlib import Path

from pydantic import ValidationError

from vevolve.errors import BadProblem, VEvolveError
from vevolve.registry import PACKAGE
from vevolve.types import CandidateFault

MISUSE = (TypeError, ValueError, LookupError, AttributeError)
"""Raised below a problem, they say that it passed what it may not; anything else there is a failure of the harness."""


@contextlib.contextmanager
def blamed(name: str, folder: Path) -> Generator[None]:
    """Turn what a problem's own code raises into `BadProblem`, one line that names the place in its folder.

    Passed on as they are: a candidate's fault, errors that tell a user what to do, and what broke in the sandbox.
    """
    try:
        yield
    except BadProblem as error:
        raise BadProblem(_told(name, folder, error, str(error))) from error
    except (CandidateFault, VEvolveError):
        raise
    except Exception as error:
        if _place(error, folder) is None:
            raise
        raise BadProblem(_told(name, folder, error, _said(error))) from error


def _told(name: str, folder: Path, error: Exception, what: str) -> str:
    place = _place(error, folder)
    return f"Problem {name} is at fault{f' at {place}' if place else ''}: {' '.join(what.split()).rstrip('.')}."


def _said(error: Exception) -> str:
    if isinstance(error, ValidationError):  # its own text is a page with links
        first = error.errors()[0]
        return f"{error.title}: {'.'.join(map(str, first['loc']))} {first['msg']}"
    return f"{type(error).__name__}: {error}"


def _place(error: Exception, folder: Path) -> str | None:
    """`file:line` of the innermost frame in the folder; None where the exception comes from elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [number for number, frame in enumerate(frames) if Path(frame.filename).resolve().is_relative_to(folder)]
    if not own:
        return None
    sandbox = (PACKAGE / "sandbox").resolve()
    below = any(Path(frame.filename).resolve().is_relative_to(sandbox) for frame in frames[own[-1] + 1 :])
    if below and not isinstance(error, MISUSE):
        return None
    return f"{frames[own[-1]].filename}:{frames[own[-1]].lineno}"
