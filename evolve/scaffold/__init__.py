"""A new problem in one sitting: a folder that runs at once and passes the conformance suite."""

from __future__ import annotations

import keyword
from pathlib import Path
from string import Template

from vevolve import registry
from vevolve.errors import BadInput

TEMPLATES = Path(__file__).parent / "templates"
FILES = {
    "problem.py": "problem.py.tmpl",
    "task.md": "task.md.tmpl",
    "seeds/seed.py": "seed.py.tmpl",
    "cheats/one.py": "cheat.py.tmpl",
    "test_problem.py": "test_problem.py.tmpl",
}
"""What is written -> the template that it is made from."""


def new_problem(name: str, out: Path = Path()) -> Path:
    """Write the folder `out/name` with a problem that runs, and return it.

    Raises:
        BadInput: the name is no identifier or is taken, or the folder is there already.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise BadInput(f"A problem's name must be a Python identifier such as 'my_problem'; found '{name}'.")
    if name in registry.problem_names():
        raise BadInput(f"A problem named '{name}' is there already; choose another name.")
    folder = out / name
    if folder.exists():
        raise BadInput(f"{folder} is there already; choose another name, or another place with --out.")
    words = {"name": name, "title": "".join(word.capitalize() for word in name.split("_")) or "Problem"}
    try:
        for path, template in FILES.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Template((TEMPLATES / template).read_text()).substitute(words))
    except OSError as error:
        raise BadInput(f"Cannot write {folder}: {error.strerror}.") from error
    return folder
