import json
from pathlib import Path

import pytest

from vevolve.evolve.scaffold import new_problem
from vevolve.types import Verdict

HONEST = "import numpy as np\ndef pack(n):\n    return np.full((n, 3), 0.5) * [1, 1, 0]\n"


def judged(vevolve, source: str) -> tuple[int, dict]:
    Path("program.py").write_text(source)
    outcome = vevolve("eval", "program.py", "--problem", "circle_packing", "--json")
    return outcome.code, json.loads(outcome.out)


def test_eval_prints_one_verdict_with_points(vevolve) -> None:
    code, found = judged(vevolve, HONEST)
    assert code == 0
    assert (found["valid"], found["status"], found["stage"]) == (True, "ok", "search")
    assert [point["sum_radii"] for point in found["points"]] == [0.0]
    assert found["containment"]["level"] >= "L1"
    Verdict.model_validate({key: value for key, value in found.items() if key != "id"})


def test_eval_on_the_select_split_says_so_in_its_points(vevolve) -> None:
    outcome = vevolve("eval", "circle_packing/grid", "--split", "select", "--json")
    assert {point["split"] for point in json.loads(outcome.out)["points"]} == {"select"}


@pytest.mark.parametrize(
    ("source", "status", "feedback"),
    [
        ("import numpy as np\ndef pack(n):\n    return np.full((n, 3), np.nan)\n", "wrong", "finite"),
        ("import numpy as np\ndef pack(n):\n    return np.full((n, 3), np.inf)\n", "wrong", "finite"),
        ("def pack(n):\n    return 1 / 0\n", "crash", "ZeroDivisionError"),
        ("def pack(n):\n    return None\n", "wrong", "expected an array"),
        ("def pack(:\n", "syntax", "line 1"),
        ("def place(n):\n    return 1\n", "interface", "pack"),
        ("", "interface", "pack"),
        ("def pack(n):\n    raise ValueError('\\x1b[31m[red]x')\n", "crash", "[red]x"),
    ],
)
def test_a_candidates_fault_is_a_verdict_and_exit_code_1(vevolve, source: str, status: str, feedback: str) -> None:
    code, found = judged(vevolve, source)
    assert (code, found["valid"], found["status"]) == (1, False, status)
    assert feedback in found["feedback"]
    plain = vevolve("eval", "program.py", "--problem", "circle_packing")
    assert plain.code == 1
    assert f"invalid ({status})" in plain.out
    assert feedback in plain.out
    assert "\x1b" not in plain.out
    assert plain.err == ""


def test_eval_reads_the_parameters_beside_the_program(vevolve) -> None:
    _, without = judged(vevolve, HONEST)
    Path("program.safetensors").write_bytes(b"parameters")
    _, with_parameters = judged(vevolve, HONEST)
    assert without["id"] != with_parameters["id"]


def test_a_faulty_problem_is_not_called_a_bug_of_ours(vevolve, tmp_path: Path) -> None:
    folder = new_problem("faulty", tmp_path)
    problem = folder / "problem.py"
    problem.write_text(problem.read_text().replace("errors = []", "errors = None + 1"))
    line = next(n for n, text in enumerate(problem.read_text().splitlines(), 1) if "None + 1" in text)
    for command in (["eval", "seed"], ["run", "seed", "--workers", "inline"]):
        outcome = vevolve(*command, "--problem", folder)
        assert outcome.code == 1
        assert outcome.err.startswith(f"error: Problem faulty is at fault at {problem}:{line}: TypeError: ")
        assert outcome.err.count("\n") == 1


def test_check_passes_a_shipped_problem_and_a_fresh_scaffold(vevolve, tmp_path: Path) -> None:
    new_problem("fresh", tmp_path)
    for name in ("circle_packing", "fresh"):
        outcome = vevolve("check", "problem", name)
        assert outcome.code == 0, outcome.out
        assert f"{name}: 10 of 10 checks passed, sandbox level L" in outcome.out


def test_check_fails_a_broken_problem_with_exit_code_1_and_says_why(vevolve, tmp_path: Path) -> None:
    folder = new_problem("broken", tmp_path)
    (folder / "cheats/one.py").write_text((folder / "seeds/seed.py").read_text().replace("REACH = 2", "REACH = 3"))
    path = folder / "problem.py"
    path.write_text(path.read_text().replace("default_rng(seed.integer)", "default_rng()"))
    outcome = vevolve("check", "problem", folder, "--json")
    assert outcome.code == 1
    failed = [finding["detail"] for finding in json.loads(outcome.out) if not finding["passed"]]
    assert any("two different workloads" in detail for detail in failed)
    assert "FAILED  The same stage and seed give the same cases." in vevolve("check", "problem", folder).out


def test_new_problem_says_what_to_type_next_and_that_works(vevolve) -> None:
    outcome = vevolve("new", "problem", "mine")
    assert outcome.code == 0
    commands = [line.split()[1:] for line in outcome.out.splitlines() if line.startswith("  vevolve ")]
    assert len(commands) == 2
    for command in commands:
        done = vevolve(*["6" if word == "50" else word for word in command], *_inline(command))
        assert done.code == 0, done.err


def _inline(command: list[str]) -> list[str]:
    return ["--workers", "inline"] if command[0] == "run" else []


def test_below_the_highest_level_each_start_says_so_in_one_line(vevolve, monkeypatch) -> None:
    from vevolve.sandbox import cgroups

    monkeypatch.setattr(cgroups, "places", lambda own, mounts: iter(()))
    for command in (["eval", "circle_packing/grid"], ["run", "circle_packing/grid", "-n", "1", "--workers", "inline"]):
        said = vevolve(*command).err.splitlines()
        assert [line.startswith("Sandbox level L") for line in said] == [True] and "cgroup" in said[0]
    plain = vevolve("doctor").out
    assert "cgroup               ABSENT: no group" in plain and "systemd-run" in plain
    assert "cgroup" in json.loads(vevolve("doctor", "--json").out)["sandbox"]["missing"]


def test_doctor_tells_whether_keys_are_set_and_never_what_they_are(vevolve, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    outcome = vevolve("doctor", "--json")
    found = json.loads(outcome.out)
    assert found["keys"] == {"OPENAI_API_KEY": True, "ANTHROPIC_API_KEY": False}
    assert found["sandbox"]["layers"]
    assert all(found["packages"].values())
    assert outcome.code == (0 if found["sandbox"]["level"] >= "L1" else 1)
    plain = vevolve("doctor").out
    assert "OPENAI_API_KEY: set" in plain
    assert "sk-a-secret" not in outcome.out + plain


def test_an_operating_point_without_a_model_is_misuse(vevolve) -> None:
    outcome = vevolve("eval", "sparse_decode/quest", "--point", "64 tokens")
    assert outcome.code == 2
    assert "name one with --model" in outcome.err


def test_a_model_for_a_problem_without_a_model_stage_is_refused_before_it_is_loaded(vevolve) -> None:
    outcome = vevolve("eval", "circle_packing/grid", "--model", "no/such-model")
    assert outcome.code == 2
    assert "circle_packing has no model stage" in outcome.err
