"""The README: its Python runs, its links lead somewhere, and its picture is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_to_a_file(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_python_example_is_the_one_that_the_examples_run() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = (ROOT / "examples" / "ten_lines.py").read_text(encoding="utf-8")
    assert block.strip() in example


def test_every_top_level_folder_is_in_the_tree() -> None:
    tree = README.split("## What is where")[1]
    for folder in (
        "evolve",
        "evaluators",
        "seeds",
        "kernels",
        "sandbox",
        "archive",
        "prompts",
        "tests",
        "benchmarks",
        "docs",
    ):
        assert f"{folder}/" in tree


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"vevolve (run|resume|front|ls|show|diff|eval|attack|doctor|new)\b", README)))
)
def test_every_command_it_names_is_documented(command: str) -> None:
    assert f"## vevolve {command}" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
