import subprocess
import sys
from pathlib import Path

import pytest

from vevolve.errors import BadInput
from vevolve.evaluators.contract import load
from vevolve.evaluators.testing import PlainSubject, check
from vevolve.evolve.scaffold import FILES, new_problem


def test_a_scaffolded_problem_passes_the_conformance_suite(tmp_path: Path) -> None:
    problem = load(str(new_problem("fresh", tmp_path)))
    findings = check(problem, lambda candidate: PlainSubject(candidate, problem.arrays))
    assert len(findings) == 10
    assert [finding for finding in findings if not finding.passed] == []


def test_its_own_test_file_passes_under_pytest(tmp_path: Path) -> None:
    folder = new_problem("fresh", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_problem.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "10 passed" in done.stdout


def test_every_template_is_used_and_no_placeholder_is_left(tmp_path: Path) -> None:
    folder = new_problem("my_problem", tmp_path)
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == set(FILES)
    assert not [path for path in folder.rglob("*") if path.is_file() and "$" in path.read_text()]
    assert "class MyProblem(Problem)" in (folder / "problem.py").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-problem", "must be a Python identifier"),
        ("class", "must be a Python identifier"),
        ("../up", "must be a Python identifier"),
        ("circle_packing", "is there already"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        new_problem(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    folder = new_problem("mine", tmp_path)
    (folder / "problem.py").write_text("changed")
    with pytest.raises(BadInput, match="is there already"):
        new_problem("mine", tmp_path)
    assert (folder / "problem.py").read_text() == "changed"


def test_two_folders_of_one_name_are_two_problems(tmp_path: Path) -> None:
    one, other = (new_problem("twin", tmp_path / side) for side in ("left", "right"))
    (other / "problem.py").write_text((other / "problem.py").read_text().replace("SAMPLES = 256", "SAMPLES = 64"))
    assert load(str(one)).hash != load(str(other)).hash


def test_runs_and_caches_inside_a_problem_do_not_change_its_hash(tmp_path: Path) -> None:
    folder = new_problem("steady", tmp_path)
    before = load(str(folder)).hash
    for left in ("runs/one/archive.db", ".pytest_cache/x", "__pycache__/y.pyc", "seeds/more.py"):
        (folder / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / left).write_text("left behind")
    assert type(load(str(folder)))().hash == before
    (folder / "task.md").write_text("Another task.")
    assert type(load(str(folder)))().hash != before
