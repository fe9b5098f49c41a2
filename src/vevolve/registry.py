"""Name -> plugin. A plugin is found by its file name; no list is edited to add one.

Problems are folders under `evaluators/`, seeds are files under `seeds/<problem>/`. Packages outside this
repository add problems through the entry-point group `vevolve.problems` (name -> folder or module), and any
path to a problem folder or a program works where a name does.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import sys
import traceback
from pathlib import Path
from types import ModuleType

from vevolve.errors import BadInput, BadProblem, UnknownName

PACKAGE = Path(__file__).parent
PROBLEM_MODULE = "problem"
"""A problem folder holds `problem.py`, with one instance named `problem`."""


def problem_names() -> list[str]:
    """Every problem that can be named: shipped folders and entry points, sorted."""
    shipped = [path.parent.name for path in (PACKAGE / "evaluators").glob(f"*/{PROBLEM_MODULE}.py")]
    return sorted({*shipped, *(point.name for point in _entry_points())})


def problem_module(name: str) -> ModuleType:
    """Import the module that defines problem `name`: a shipped name, an entry point, or a folder's path.

    Raises:
        UnknownName: no such problem.
        BadInput: the folder has no `problem.py`.
        BadProblem: importing it failed.
    """
    if (PACKAGE / "evaluators" / name / f"{PROBLEM_MODULE}.py").is_file() and name.isidentifier():
        return importlib.import_module(f"vevolve.evaluators.{name}.{PROBLEM_MODULE}")
    for point in _entry_points():
        if point.name == name:
            return _imported(point.value.partition(":")[0])
    if Path(name).is_dir():
        return _import_folder(Path(name).resolve())
    raise UnknownName("problem", name, problem_names())


def seed_names(problem: str) -> list[str]:
    """The shipped seeds of a problem, sorted."""
    return sorted(path.stem for path in seed_folder(problem).glob("*.py") if path.stem != "__init__")


def seed_folder(problem: str) -> Path:
    """Where the shipped seeds of a problem stand (the folder may not exist)."""
    return PACKAGE / "seeds" / problem


def seed_path(name: str) -> Path:
    """The file of a shipped seed named `problem/method`.

    Raises:
        UnknownName: no such seed; the message offers the nearest.
    """
    problem, _, method = name.partition("/")
    path = seed_folder(problem) / f"{method}.py"
    if not method or not path.is_file() or method == "__init__":
        folders = [problem] if seed_names(problem) else sorted({one.name for one in (PACKAGE / "seeds").iterdir()})
        raise UnknownName("seed", name, [f"{p}/{m}" for p in folders for m in seed_names(p)])
    return path


def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group="vevolve.problems"))


def _import_folder(folder: Path) -> ModuleType:
    """Import `folder/problem.py` of a problem outside the repository as a package of its own."""
    path = folder / f"{PROBLEM_MODULE}.py"
    if not path.is_file():
        raise BadInput(f"{folder} holds no {PROBLEM_MODULE}.py; `vevolve new problem NAME` scaffolds one.")
    # Two folders of one name are two problems.
    package = f"vevolve_problem_{folder.name}_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(folder)]
        sys.modules[package] = parent
    return _imported(f"{package}.{PROBLEM_MODULE}", folder)


def _imported(module: str, folder: Path | None = None) -> ModuleType:
    """The module. Raises `BadProblem` where importing it fails, naming the last line of it that ran."""
    try:
        return importlib.import_module(module)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if folder and Path(frame.filename).is_relative_to(folder)]
        place = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
        if isinstance(error, SyntaxError) and error.filename:
            place = f" at {error.filename}:{error.lineno}"
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadProblem(f"Importing the problem {folder or module} failed{place}: {told}.") from error
