"""A faulty problem is told as such, with the place; a candidate's fault stays a verdict, the harness's an exception."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from vevolve import types
from vevolve.errors import BadInput, BadProblem
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.examination import examine
from vevolve.evaluators.fresh import generator
from vevolve.evaluators.programs import MAX_PARAMS, read_program
from vevolve.evaluators.testing import PlainSubject
from vevolve.evaluators.testing.corruption import Corrupted
from vevolve.registry import PACKAGE
from vevolve.types import Array, Candidate, Seed, Subject, program

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


def test_every_file_of_the_types_is_in_the_hash_of_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "types"
    shutil.copytree(Path(types.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(types, "__file__", str(folder / "__init__.py"))
    files = sorted(folder.glob("*.py"))
    (tmp_path / "problem").mkdir()
    kind = type(made(tmp_path / "problem", GOOD))
    found = [kind().hash]
    for path in files:
        path.write_text(path.read_text() + "\n# changed\n")
        found.append(kind().hash)
    assert len(files) > 1
    assert len(set(found)) == len(files) + 1


def test_a_problem_refuses_no_text_and_draws_no_document_unless_it_says_so(tmp_path: Path) -> None:
    problem = made(tmp_path, GOOD)
    assert problem.screen(Candidate("def broken(:")) is None
    assert generator(problem) is None
    with pytest.raises(BadProblem, match="faulty draws no fresh documents"):
        problem.fresh(Seed(b"key"))


def test_an_examination_parses_a_program_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse = program.parse_program
    monkeypatch.setattr(program, "parse_program", lambda text: parsed.append(text) or parse(text))
    candidate = Candidate("import os\n" + HONEST.source)
    problem = made(tmp_path, GOOD)
    assert candidate.tree_hash
    verdict = examined(problem, candidate)
    assert "line 1: imports os" in verdict.feedback
    assert verdict.valid
    assert parsed == [candidate.source]


def test_what_spoils_answers_tells_the_cost_of_the_subject_below() -> None:
    plain = PlainSubject(HONEST)
    spoilt = Corrupted(plain, lambda array: array)
    spoilt.call("answer", returns=Array("f8", ()))
    plain.cpu_s = 0.5
    assert (spoilt.processes, spoilt.cpu_s, spoilt.containment) == (1, 0.5, None)
    hosted = spoilt.hosting(Candidate("def other():\n    return 0.5\n"))
    assert hosted.call("other", returns=Array("f8", ())) == 0.5


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
