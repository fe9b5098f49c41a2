import json
from pathlib import Path
from types import SimpleNamespace

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
    assert "Judging" not in outcome.err


def test_eval_in_a_model_says_first_how_much_there_is_to_do(vevolve, monkeypatch) -> None:
    from vevolve.evaluators.inside.cases import cases
    from vevolve.evaluators.inside.stage import DECLARED

    asked: dict[str, int] = {}

    def judge(problem, subject, label, seed, *, model, each):
        asked["each"] = each
        return problem.invalid("stopped here", "wrong")

    monkeypatch.setattr("vevolve.evaluators.inside.stage.judge", judge)
    outcome = vevolve("eval", "sparse_decode/quest", "--model", "mine", "--point", "64 tokens", "--json")
    words = SimpleNamespace(
        name="mine",
        longest=4_096,
        encode=lambda text: range(len(text.split())),
        prompt=lambda user, prefix: user + prefix,
    )
    drawn = cases(words, "select", DECLARED, each=asked["each"])
    questions = sum(case.task != "text" for case in drawn)
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("Judging inside mine at 64 tokens: ")]
    assert f"{len(drawn)} contexts of at most 1,000 tokens" in line and f"{questions} questions" in line
    assert max(len(case.context) for case in drawn) <= 1_000
    assert json.loads(outcome.out)["status"] == "wrong"


# --------------------------------------------------------------------------------------------------------- latency


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    from vevolve.sandbox import profiles

    monkeypatch.setattr(profiles, "gpus", lambda: ())


@pytest.fixture
def stand_in(monkeypatch) -> list[tuple[str, str]]:
    """A GPU that times every program at 40 us beside 50; what it was asked."""
    from vevolve.evaluators import latency
    from vevolve.evaluators.latency import Measurement, Span, Timed
    from vevolve.evolve import stopwatch

    asked: list[tuple[str, str]] = []

    class Ground:
        def measure(self, candidate, incumbent):
            asked.append((candidate.id, incumbent.id))
            label, span = "one step", Span(low=39, middle=40, high=42)
            wrong = ("call 3: off the attention",) if "SPLITS = 16" in candidate.source else ()
            return Measurement(
                problem="decode_kernel",
                version=1,
                protocol="0123456789abcdef",
                workload="one step of attention",
                candidate=(
                    Timed(
                        program=candidate.id,
                        label=label,
                        latency_us=span,
                        calls=20,
                        figures={"error": 0.125},
                        mode="eager: a copy",
                        faults=wrong,
                    ),
                ),
                incumbent=(Timed(program=incumbent.id, label=label, latency_us=span, calls=20, suspect="too fast"),),
                ratios={} if wrong else {label: Span(low=0.79, middle=0.8, high=0.82)},
                overhead_us=5,
                conditions={"name": "NVIDIA TEST", "uuid": "GPU-0", "clocks.sm": "1980 MHz"},
            )

        def close(self):
            asked.append(("closed", ""))

    monkeypatch.setattr(stopwatch, "absent", lambda: "")
    monkeypatch.setattr(stopwatch, "gpu", lambda **_: "a device")
    monkeypatch.setattr(latency, "ground", lambda problem, device: Ground())
    return asked


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_one_line_says_so_and_no_time_is_invented(vevolve) -> None:
    told = vevolve("eval", "decode_kernel/attend_shared")
    lines = [line for line in told.out.splitlines() if "latency:" in line]
    assert told.code == 0 and len(lines) == 1 and "not measured, no NVIDIA GPU here" in lines[0]
    found = json.loads(vevolve("eval", "decode_kernel/attend_shared", "--json").out)
    assert found["latency"] is None and "no NVIDIA GPU here" in found["latency_absent"]
    switched_off = vevolve("eval", "decode_kernel/attend_shared", "--no-latency", "--json")
    assert "latency" not in json.loads(switched_off.out)
    assert "latency" not in vevolve("eval", "circle_packing/grid").out


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["decode_kernel/attend", "--latency"], "no NVIDIA GPU here"),
        (["decode_kernel/attend", "--against", "decode_kernel/attend_shared"], "no NVIDIA GPU here"),
        (["decode_kernel/attend", "--no-latency", "--against", "attend"], "leave out --no-latency"),
        (["circle_packing/grid", "--latency"], "no latency stage"),
        (["sparse_decode/quest", "--model", "smollm2", "--latency"], "A model judges no latency"),
    ],
)
def test_latency_that_cannot_be_measured_is_refused_in_one_line_before_anything_is_examined(
    vevolve, arguments: list[str], said: str
) -> None:
    told = vevolve("eval", *arguments)
    assert told.code in (1, 2) and told.out == ""
    assert said in told.err and told.err.count("\n") == 1


def test_a_run_that_is_to_time_refuses_a_machine_without_a_gpu(vevolve, no_gpu) -> None:
    told = vevolve("run", "decode_kernel/attend", "--latency", "-n", "1", "--workers", "inline")
    assert told.code in (1, 2) and "no NVIDIA GPU here" in told.err and not Path("runs").exists()


def test_eval_prints_time_interval_and_ratio_first_then_the_incumbent_and_what_times_depend_on(
    vevolve, stand_in
) -> None:
    told = vevolve("eval", "decode_kernel/attend_shared")
    lines = told.out[told.out.index("latency at") :].splitlines()
    assert lines == [
        "latency at one step: 40 [39, 42] us, 0.8 [0.79, 0.82] times attend_shared's",
        "  error 0.125, 20 calls, eager: a copy",
        "  attend_shared: 40 [39, 42] us; DOES NOT COUNT: SUSPECT: too fast",
        "  on one step of attention; 5 us of a step are an empty call's",
        "  NVIDIA TEST, SM at 1980 MHz, protocol 1 (0123456789ab)",
    ]
    found = json.loads(vevolve("eval", "decode_kernel/attend_shared", "--json").out)
    assert found["latency"]["candidate"][0]["latency_us"] == {"low": 39.0, "middle": 40.0, "high": 42.0}
    assert found["latency_absent"] is None
    (own, beside), closed = stand_in[:2]
    assert own == beside == found["id"] and closed == ("closed", "")


def test_eval_times_beside_whom_it_is_told_and_says_what_is_at_fault(vevolve, stand_in) -> None:
    shared = json.loads(vevolve("eval", "decode_kernel/attend_shared", "--no-latency", "--json").out)["id"]
    assert stand_in == []
    told = vevolve("eval", "decode_kernel/attend", "--against", "decode_kernel/attend_shared")
    assert told.code == 0 and stand_in[0][1] == shared
    assert "DOES NOT COUNT: call 3: off the attention" in told.out and "times attend_shared's" not in told.out


def test_a_gpu_on_which_nothing_can_be_timed_costs_no_verdict_and_is_an_error_only_where_a_time_is_demanded(
    vevolve, stand_in, monkeypatch
) -> None:
    from vevolve.errors import SandboxUnavailable
    from vevolve.evolve import stopwatch

    def taken(**_: object) -> object:
        raise SandboxUnavailable("Latency cannot be measured: CUDA out of memory.")

    monkeypatch.setattr(stopwatch, "gpu", taken)
    told = vevolve("eval", "decode_kernel/attend_shared")
    assert told.code == 0 and "latency: not measured, CUDA out of memory\n" in told.out
    found = json.loads(vevolve("eval", "decode_kernel/attend_shared", "--json").out)
    assert found["valid"] and found["latency"] is None and "out of memory" in found["latency_absent"]
    refused = vevolve("eval", "decode_kernel/attend_shared", "--latency")
    assert refused.code != 0 and "out of memory" in refused.err and refused.err.count("\n") == 1


def test_an_invalid_program_is_not_timed(vevolve, stand_in) -> None:
    Path("program.py").write_text("import os\n")
    told = vevolve("eval", "program.py", "-p", "decode_kernel")
    assert told.code == 1 and stand_in == [] and "latency" not in told.out
