"""Honest programs in the real sandbox: the same figures as without one."""

import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.kv_eviction.problem import problem
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, Seed


@pytest.mark.parametrize("name", sorted(problem.seeds()))
def test_a_seed_is_stable_and_its_figures_need_no_sandbox(name, sandbox, make_context):
    candidate = Candidate(problem.seed(name).read_text())
    cases = make_context(n=70, layers=(0, 1)), make_context(1, n=64, kind="needle", needle=(3, 9), layers=(0, 1))
    workload = Workload(problem.stage("search"), Seed(b"honest"), cases)
    plain = examine_workload(problem, PlainSubject(candidate, "torch"), workload)
    assert plain.valid, plain.feedback
    verdict = examine_workload(problem, sandbox.subject(candidate), workload)
    assert verdict.valid, verdict.feedback
    assert verdict.points == plain.points
