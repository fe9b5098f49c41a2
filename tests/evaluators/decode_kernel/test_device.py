"""The way to a GPU: what the compiler is told, machine code of every seed, and what of a timed call is not believed."""

import numpy as np
import pytest

from vevolve.evaluators.decode_kernel import device, workload
from vevolve.evaluators.decode_kernel.problem import problem
from vevolve.evaluators.decode_kernel.program import read
from vevolve.evaluators.latency.decode_kernel import by_its_events, check
from vevolve.sandbox import probe
from vevolve.sandbox.compiler import Compiler
from vevolve.types import Candidate, CandidateFault, Seed

CASE = workload.draw((2, 2, 4, 300, 64), Seed(b"decode kernels!!"), 128)


def jobs(text):
    return device.jobs(read(Candidate(text)), CASE.sizes, CASE.scale)


def test_the_compiler_is_told_types_constants_and_what_is_aligned(seed_text):
    attend, merge = jobs(seed_text("attend_shared"))
    assert attend.kernel == "attend" and attend.grid == (4, 4, 1) and merge.grid == (16, 1, 1)
    assert attend.signature["keys"] == "*fp16" and attend.signature["ids"] == "*i32"
    assert attend.signature["partial"] == "*fp32" and attend.signature["scale"] == "fp32"
    assert attend.signature["n"] == "i32" and attend.signature["D"] == "constexpr"
    assert attend.constants == {"D": 128, "ROWS": 16, "SPLITS": 4, "BLOCK": 16}
    assert set(attend.aligned) == {"query", "keys", "values", "ids", "log_prob", "partial", "stats"}
    assert attend.options == {"num_warps": 4, "num_stages": 2}


def test_arguments_of_a_launch_stand_in_the_order_of_the_kernel_without_constants(seed_text):
    _, merge = jobs(seed_text("attend_shared"))
    assert merge.arguments == (("buffer", "partial"), ("buffer", "stats"), ("buffer", "out"))
    attend, _ = jobs(seed_text("attend_shared"))
    assert attend.arguments[-4:] == (("fp32", CASE.scale), ("i32", 4), ("i32", 300), ("i32", 64))


def test_a_grid_may_be_larger_than_under_the_interpreter_and_is_bounded_all_the_same(seed_text):
    text = seed_text("attend_shared", ("SPLITS = 4", "SPLITS = 1000"))
    assert jobs(text)[0].grid == (4, 1000, 1)
    with pytest.raises(CandidateFault, match="is launched on a grid"):
        jobs(text.replace("SPLITS = 1000", "SPLITS = 1000000"))


def test_another_question_keeps_keys_and_values_and_changes_all_else():
    asked = workload.again(CASE, Seed(b"another question"))
    assert asked.keys is CASE.keys and asked.values is CASE.values
    assert (asked.query != CASE.query).any() and (asked.ids != CASE.ids).any()


@pytest.mark.skipif(probe().level < "L2", reason="the compiler needs namespaces, which this machine does not give")
def test_every_seed_becomes_machine_code_in_the_compilers_process():
    with Compiler() as compiler:
        for name in problem.seeds():
            program = read(Candidate(problem.seed(name).read_text()))
            for job in device.jobs(program, CASE.sizes, CASE.scale):
                made = compiler.compile(
                    program.text, job.kernel, job.signature, job.constants, job.aligned, 90, **job.options
                )
                assert made.name == job.kernel and made.warps == job.options["num_warps"]
                assert made.scratch == (0, 0)


def test_an_answer_that_is_off_or_an_input_that_was_written_is_a_fault_of_the_timed_call():
    right = workload.reference(CASE).astype(np.float16)
    good = {"out": right, "intact": np.array([1])}
    assert check(CASE, good) == ""
    assert "relative error" in check(CASE, good | {"out": right * np.float16(1.01)})
    assert "relative error nan" in check(CASE, good | {"out": right * np.float16("nan")})
    assert "an input was written" in check(CASE, good | {"intact": np.array([0])})


@pytest.mark.parametrize(("seconds", "wall"), [(0.0, 1e-3), (2e-3, 1e-3), (1e-5, 1e-2), (float("nan"), 1e-3)])
def test_a_time_that_the_two_clocks_do_not_agree_on_is_not_believed(seconds, wall):
    with pytest.raises(CandidateFault, match="the device's events say"):
        by_its_events(lambda: {"seconds": [seconds, wall]})
    assert by_its_events(lambda: {"seconds": [1e-4, 3e-4]})[1] == 1e-4
