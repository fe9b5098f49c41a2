"""The documentation is tested: what it shows exists, and what it tells to type works."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import typer.main

import vevolve
from vevolve.evaluators.contract import load
from vevolve.evaluators.fresh import generator
from vevolve.evaluators.testing import PlainSubject, check
from vevolve.evolve.cli import app, document
from vevolve.evolve.scaffold import new_problem

ROOT = Path(vevolve.__file__).resolve().parents[2]
PAGE = (ROOT / "docs/new-problem.md").read_text()


def words(text: str) -> str:
    return " ".join(text.split())


def described(command, name: str = "vevolve") -> list:
    """Every command that can be typed, with its full name."""
    below = [
        found for key, each in getattr(command, "commands", {}).items() for found in described(each, f"{name} {key}")
    ]
    return below or [(name, command)]


COMMANDS = described(typer.main.get_command(app))


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_and_option_stands_in_the_page_of_the_command_line(name: str, command) -> None:
    page = (ROOT / "docs/cli.md").read_text()
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert section, "run python -m vevolve.evolve.cli.document"
    text = words(section[1])
    assert words(command.help.partition("\n\n")[0]) in text
    for parameter in command.params:
        if getattr(parameter, "help", None):
            assert words(parameter.help) in text, "run python -m vevolve.evolve.cli.document"
        for option in parameter.opts:
            assert option.lstrip("-") in text or parameter.metavar in text


def test_the_generated_page_has_a_section_for_every_command() -> None:
    page = document.page()
    assert all(f"\n## {name}\n" in page for name, _ in COMMANDS)
    assert {"vevolve run", "vevolve traces record", "vevolve new problem", "vevolve check problem"} <= dict(
        COMMANDS
    ).keys()


def test_the_page_of_the_command_line_is_the_generated_one() -> None:
    assert (ROOT / "docs/cli.md").read_text() == document.page(), "run python -m vevolve.evolve.cli.document"


def test_the_code_shown_on_the_page_of_problems_is_the_code_that_ships() -> None:
    shipped = (ROOT / "evaluators/circle_packing/problem.py").read_text()
    blocks = re.findall(r"```python\n(    .*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    assert all(block in shipped for block in blocks)


def test_the_fresh_documents_on_the_page_of_problems_work_in_the_scaffold(tmp_path: Path) -> None:
    (method,) = re.findall(r"```python\n(def fresh.*?)```", PAGE, re.DOTALL)
    imports = "import hashlib\n", "from vevolve.evaluators.fresh import STAGE\n"
    assert all(f"`{line.strip()}`" in PAGE for line in imports)
    file = new_problem("mine", tmp_path) / "problem.py"
    head, rest = file.read_text().split("import numpy as np\n")
    body, tail = rest.split("def _case(")
    file.write_text(
        f"{head}{''.join(imports)}import numpy as np\n{body}{textwrap.indent(method, '    ')}\n\ndef _case({tail}"
    )
    problem = load(str(file.parent))
    assert generator(problem) is not None
    findings = check(problem, lambda candidate: PlainSubject(candidate, problem.arrays))
    assert [finding for finding in findings if not finding.passed] == []


def test_the_commands_on_the_page_of_problems_work_in_this_order(vevolve) -> None:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    typed = [line.removeprefix("$ vevolve ") for block in blocks for line in block.splitlines()]
    assert len(typed) == 9
    for line in typed:
        done = vevolve(*shlex.split(line))
        assert done.code == 0, f"{line}: {done.err}"


def test_the_ten_line_example_finds_better_packings(tmp_path: Path) -> None:
    example = ROOT / "examples/ten_lines.py"
    code = [line for line in example.read_text().splitlines() if line and not line.startswith('"""')]
    assert len(code) <= 10
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1].split()[1]) >= 26 / 12 - 1e-9


def test_the_readme_activates_the_environment_before_its_first_plain_command() -> None:
    typed = re.findall(r"^\$ (.*)", (ROOT / "README.md").read_text(), re.MULTILINE)
    plain = [place for place, line in enumerate(typed) if line.startswith(("vevolve ", "pip "))]
    assert plain
    assert typed.index(next(line for line in typed if line.startswith("source .venv/bin/activate "))) < plain[0]


def test_the_readme_names_the_release_of_pytorch_that_make_keeps() -> None:
    (release,) = re.findall(r"pip install torch==(\S+) --index-url", (ROOT / "README.md").read_text())
    assert f"torch=={release}\n" in (ROOT / "constraints.txt").read_text()
