"""The problem as a whole: its seeds, its cheats, what it measures and what it says, every program in the sandbox."""

import os

import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.decode_kernel.memory import PROCESSORS
from vevolve.evaluators.decode_kernel.problem import DecodeKernel, problem
from vevolve.evaluators.decode_kernel.workload import cases
from vevolve.evaluators.examination import examine
from vevolve.evaluators.testing import PlainSubject, ProblemConformance, hypervolume
from vevolve.evolve.attack.corpus import cheats
from vevolve.sandbox import Sandbox
from vevolve.types import Candidate, CandidateFault, Seed, Subject

SEED = Seed(b"decode kernels!!")


def small():
    """The problem on one shape of each split, so that the whole suite is quick."""
    made = DecodeKernel()
    made.workload = lambda stage, seed: Workload(stage, seed, cases(stage.split, seed)[1:2])
    return made


class TestConformance(ProblemConformance):
    problem = small()

    @pytest.fixture(autouse=True)
    def _sandboxed(self, interpreter):
        type(self).interpreter = interpreter

    def subject_for(self, candidate: Candidate) -> Subject:
        return self.interpreter.subject(candidate)

    def test_it_rejects_its_cheats(self):
        """Each gets a verdict that it says itself, and is worth no more than the honest seed."""
        honest = self._honest_worth()
        for cheat in cheats(problem):
            subject = self.subject_for(Candidate(cheat.text))
            verdict = examine(self.problem, subject, SEED)
            assert ("fair" if verdict.valid else verdict.status) in cheat.expected, (cheat.name, verdict.feedback)
            assert not verdict.valid or hypervolume(problem, verdict.points) <= honest, cheat.name
            if verdict.status == "interface" and cheat.name != "launches_a_million_programs":
                assert subject.processes == 0, cheat.name

    def _honest_worth(self):
        text = problem.seed(problem.default_seed).read_text()
        return hypervolume(problem, examine(self.problem, self.subject_for(Candidate(text)), SEED).points)


def test_the_screen_refuses_a_text_as_the_examination_does_and_lets_kernels_pass(seed_text):
    program = "import os\n" + seed_text("attend")
    with pytest.raises(CandidateFault) as told:
        problem.screen(Candidate(program))
    subject = PlainSubject(Candidate(program))
    verdict = examine(problem, subject, SEED)
    assert (verdict.status, subject.processes) == (told.value.status, 0)
    assert verdict.feedback.startswith(told.value.feedback)
    assert problem.screen(Candidate(seed_text("attend"))) is None


def test_no_kernel_sets_off_the_alarm(verdict_on, seed_text):
    verdict = verdict_on(seed_text("attend_shared"), shapes=slice(0, 1))
    assert verdict.valid
    assert "alarm" not in verdict.feedback


# ------------------------------------------------------------------------------------------------------------- figures


def test_sharing_keys_within_a_group_moves_less_than_the_plain_way(verdict_on, seed_text):
    names = ("attend", "attend_shared")
    plain, shared = (verdict_on(seed_text(name), shapes=slice(2, 3)).points[0] for name in names)
    assert 1 < shared["traffic"] < 0.4 * plain["traffic"]
    assert 1 < shared["span"] < plain["span"]
    assert max(plain["error"], shared["error"]) < 5e-4
    assert all(point["span"] >= point["traffic"] for point in (plain, shared))


def test_what_is_counted_is_what_the_kernel_moves(verdict_on):
    """One program for each query head, which reads its own keys and values once: everything can be told by hand."""
    source = """
import triton
import triton.language as tl

LAUNCH = {"attend": {"grid": ("B * H * G",)}}


@triton.jit
def attend(query, keys, values, ids, log_prob, out, scale, G, n, m, D: tl.constexpr):
    head = tl.program_id(0)
    row = head // G
    column = tl.arange(0, D)
    at = tl.arange(0, 64)
    q = tl.load(query + head * D + column).to(tl.float32)
    token = tl.load(ids + row * m + at, at < m, -1)
    live = token >= 0
    place = (row * n + tl.where(live, token, 0))[:, None] * D + column[None, :]
    k = tl.load(keys + place, live[:, None], 0.0).to(tl.float32)
    score = tl.sum(k * q[None, :], 1) * scale - tl.load(log_prob + row * m + at, live, 0.0)
    score = tl.where(live, score, -1e30)
    weight = tl.where(live, tl.exp(score - tl.max(score, 0)), 0.0)
    v = tl.load(values + place, live[:, None], 0.0).to(tl.float32)
    tl.store(out + head * D + column, (tl.sum(v * weight[:, None], 0) / tl.sum(weight, 0)).to(tl.float16))
"""
    verdict = verdict_on(source, shapes=slice(0, 1))
    assert verdict.valid, verdict.feedback
    (told,) = verdict.report["shapes"]
    (case,) = cases("search", SEED)[:1]
    group, width = case.query.shape[2:]
    meant = int((case.ids >= 0).sum())
    assert told["by_buffer"]["keys"] == told["by_buffer"]["values"] == group * meant * width * 2
    assert told["by_buffer"]["query"] == told["by_buffer"]["out"] == case.query.nbytes
    assert told["by_buffer"]["ids"] == group * case.ids.nbytes
    assert told["programs"] == [8] and told["idle"] >= 1 - 8 / PROCESSORS
    assert verdict.points[0]["traffic"] == pytest.approx(told["moved_bytes"] / case.floor, rel=1e-9)


def test_more_splits_than_needed_cost_traffic_and_too_few_leave_processors_idle(verdict_on, seed_text):
    found = {
        splits: verdict_on(seed_text("attend_shared", ("SPLITS = 4", f"SPLITS = {splits}"))).points[0]
        for splits in (1, 4, 9)
    }
    assert found[1]["traffic"] < found[4]["traffic"] < found[9]["traffic"]
    assert found[4]["span"] < found[1]["span"] and found[4]["span"] < found[9]["span"]


def test_partial_sums_in_half_precision_move_less_and_are_still_right(verdict_on, seed_text):
    whole = verdict_on(seed_text("attend_shared"))
    half = verdict_on(seed_text("attend_shared", ('"partial": ("float32"', '"partial": ("float16"')))
    assert half.valid and half.points[0]["traffic"] < whole.points[0]["traffic"]
    assert half.points[0]["error"] > whole.points[0]["error"]


def test_the_same_text_gets_the_same_figures_whatever_process_runs_it(verdict_on, seed_text):
    first, second = (verdict_on(seed_text("attend_shared")) for _ in range(2))
    assert first.points == second.points and first.report == second.report


# -------------------------------------------------------------------------------------------------------------- faults


def test_a_kernel_that_knows_the_shapes_of_the_search_is_wrong_on_those_that_decide(verdict_on):
    text = problem.cheats()["knows_the_shapes"].read_text()
    assert verdict_on(text, shapes=slice(0, 1)).valid
    verdict = verdict_on(text, "select", slice(0, 1))
    assert verdict.status == "wrong" and "which is not shown" in verdict.feedback


def test_a_kernel_that_does_not_compile_is_told_with_its_own_line(verdict_on, seed_text):
    verdict = verdict_on(seed_text("attend_shared", ("BLOCK = 16", "BLOCK = 12")))
    assert verdict.status == "crash"
    assert "arange's range must be a power of 2 (in `at = start + tl.arange(0, BLOCK)`)" in verdict.feedback


def test_an_answer_that_is_off_is_told_with_its_place_and_size(verdict_on, seed_text):
    verdict = verdict_on(seed_text("attend_shared", ("tl.trans(k)) * scale", "tl.trans(k)) * scale * 1.1")))
    assert verdict.status == "wrong" and "the relative L2 error of query head [" in verdict.feedback


def test_an_ordinary_sandbox_gives_the_same_and_processes_are_on_the_candidates_account(verdict_on, seed_text):
    with Sandbox(arrays="numpy") as sandbox:
        subject = sandbox.subject(Candidate(seed_text("attend_shared")))
        verdict = examine(small(), subject, SEED)
    assert verdict.points == verdict_on(seed_text("attend_shared"), seed=SEED.derive("search").key).points
    assert verdict.cost.processes == subject.processes == 1
    assert subject.cpu_s > 0 and subject.waited_s > 0


def test_the_trusted_process_never_interprets_a_kernel(verdict_on, seed_text):
    before = os.environ.get("TRITON_INTERPRET")
    assert verdict_on(seed_text("attend_shared")).valid
    assert os.environ.get("TRITON_INTERPRET") == before
