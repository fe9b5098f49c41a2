"""The package: cheap to import, complete, and found under its own names only."""

import subprocess
import sys
from pathlib import Path

import pytest

import vevolve

HEAVY = {"torch", "triton", "ray", "openai", "anthropic"}


def imported_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running `code`."""
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    return set(out.splitlines()[-1].split())


@pytest.mark.parametrize("name", vevolve.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(vevolve, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="evolv"):
        _ = vevolve.evolv  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", ["vevolve", "vevolve.archive", "vevolve.prompts", "vevolve.types", "vevolve.evolve"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    assert not imported_by(f"import {module}") & HEAVY


def test_top_level_folders_are_the_packages_of_the_same_name() -> None:
    package = Path(vevolve.__file__).parent
    for name in ("evolve", "evaluators", "seeds", "kernels", "sandbox", "archive", "prompts"):
        assert (package / name).is_dir(), name
        assert (package / name / "__init__.py").is_file(), name


def test_our_folders_are_not_importable_by_their_bare_names() -> None:
    code = "import importlib.util as u\nprint([n for n in ('kernels', 'archive', 'sandbox') if u.find_spec(n)])\n"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/").stdout
    assert out.strip() == "[]"
