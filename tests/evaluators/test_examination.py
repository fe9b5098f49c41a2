"""A faulty problem is told as such, with the place; a candidate's fault stays a verdict, the harness's an exception."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from vevolve.errors import BadInput, BadProblem
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.examination import examine
from vevolve.evaluators.programs import MAX_PARAMS, read_program
from vevolve.evaluators.testing import PlainSubject
from vevolve.registry import PACKAGE
from vevolve.types import Candidate, Seed, Subject

HEAD = """
from vevolve import Array, Function, Objective, Point, Problem, Workload

class Faulty(Problem):
    name = "faulty"
    objectives = (Objective("error", "min", worst=1.0, unit="m"), Objective("cost", "min", worst=1.0, unit="m"))
    functions = (Function(name="answer"),)

    def examine(self, subject, workload):
"""
ANSWER = "        error = float(subject.call('answer', returns=Array('f8', ())))\n"
GOOD = ANSWER + "        return self.verdict(Point(error=error, cost=0.5))\n"
TAIL = "\nproblem = Faulty()\n"
HONEST = Candidate("def answer():\n    return 0.25\n")


def made(tmp_path: Path, body: str, more: str = "") -> Problem:
    (tmp_path / "problem.py").write_text(HEAD + body + more + TAIL)
    return load(str(tmp_path))


def examined(problem: Problem, candidate: Candidate = HONEST, subject: Subject | None = None):
    return examine(problem, subject or PlainSubject(candidate), Seed(b"seed"))


def test_a_sound_problem_gets_its_verdict(tmp_path: Path) -> None:
    verdict = examined(made(tmp_path, GOOD))
    assert verdict.valid and verdict.points[0]["error"] == 0.25


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("        return None + 1\n", r"problem\.py:10: TypeError"),
        (ANSWER + "        return self.verdict(Point(error=error))\n", r"problem\.py:11: .*holds no cost"),
        (ANSWER + "        return self.verdict(Point(error=error, cost='low'))\n", r"problem\.py:11: .*holds no cost"),
        (ANSWER + "        return self.verdict(Point(error=float('nan'), cost=1.0))\n", r"problem\.py:11: .*finite"),
        (ANSWER + "        self.verdict(Point(error=error, cost=1.0))\n", r"problem\.py:9: .*returned None"),
        (ANSWER + "        return self.verdict(report={'set': {1}, 'object': object()})\n", "plain JSON"),
        ("        raise OSError('no such table')\n", r"problem\.py:10: OSError"),
    ],
)
def test_a_faulty_examination_is_told_with_its_place_in_one_line(tmp_path: Path, body: str, message: str) -> None:
    problem = made(tmp_path, body)
    with pytest.raises(BadProblem, match=message) as caught:
        examined(problem)
    assert str(caught.value).startswith("Problem faulty is at fault")
    assert "\n" not in str(caught.value)


def test_a_faulty_workload_is_told_with_its_place(tmp_path: Path) -> None:
    problem = made(tmp_path, GOOD, "\n    def workload(self, stage, seed):\n        return {}['cases']\n")
    with pytest.raises(BadProblem, match=r"problem\.py:14: KeyError: 'cases'"):
        examined(problem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import vevolve\nx = 1 / 0\n", r"problem\.py:2: ZeroDivisionError"),
        ("x = (\n", r"problem\.py:1: SyntaxError"),
        ("problem = 3\n", "must define `problem`.*found 3"),
        ("from vevolve import Problem\nclass Bare(Problem):\n    name = 'bare'\nproblem = Bare()\n", "`objectives`"),
    ],
)
def test_a_problem_that_cannot_be_loaded_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "problem.py").write_text(text)
    with pytest.raises(BadProblem, match=message) as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_candidates_fault_stays_a_verdict(tmp_path: Path) -> None:
    verdict = examined(made(tmp_path, GOOD), Candidate("def answer():\n    raise ValueError('mine')\n"))
    assert (verdict.valid, verdict.status) == (False, "crash")
    assert "mine" in verdict.feedback


def test_what_breaks_in_the_sandbox_is_not_the_problems_fault(tmp_path: Path) -> None:
    lost: dict = {}
    where = str(PACKAGE / "sandbox" / "channel.py")
    exec(compile("def call(*_, **__):\n    raise OSError('the pipe is gone')\n", where, "exec"), lost)
    subject = SimpleNamespace(candidate=HONEST, call=lost["call"])
    with pytest.raises(OSError, match="the pipe is gone"):
        examined(made(tmp_path, GOOD), subject=subject)  # type: ignore[arg-type]


def test_an_argument_that_cannot_cross_the_sandbox_is_the_problems_fault(tmp_path: Path) -> None:
    from vevolve.sandbox import Sandbox

    body = "        subject.call('answer', {1, 2}, returns=Array('f8', ()))\n"
    problem = made(tmp_path, body)
    with Sandbox(arrays="numpy", allow_degraded=True) as sandbox, pytest.raises(BadProblem) as caught:
        examined(problem, subject=sandbox.subject(HONEST))
    assert re.search(r"problem\.py:10: TypeError: an argument of type set", str(caught.value))


def test_a_program_is_read_with_the_parameters_beside_it(tmp_path: Path) -> None:
    program = tmp_path / "one.py"
    program.write_text("x = 1\n")
    assert read_program(program) == Candidate("x = 1\n")
    (tmp_path / "one.safetensors").write_bytes(b"parameters")
    assert read_program(program) == Candidate("x = 1\n", b"parameters")
    (tmp_path / "one.safetensors").write_bytes(bytes(MAX_PARAMS + 1))
    with pytest.raises(BadInput, match="at most 8,388,608"):
        read_program(program)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_program_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    program = tmp_path / "one.py"
    if content:
        program.write_bytes(content)
    with pytest.raises(BadInput, match=r"UTF-8|No such file") as caught:
        read_program(program)
    assert "\n" not in str(caught.value)
