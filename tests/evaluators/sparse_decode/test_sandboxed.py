"""Honest programs in the real sandbox: the same answers as without one."""

import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, Seed


@pytest.mark.parametrize("name", ["streaming_llm", "quest", "uniform", "oracle_topk", "vattention"])
def test_a_seed_is_stable_and_its_errors_need_no_sandbox(name, sandbox, make_document):
    candidate = Candidate(problem.seed(name).read_text())
    documents = make_document(tokens=610, layers=(0, 1)), make_document(1, kind="needle", layers=(0, 1))
    workload = Workload(problem.stage("search"), Seed(b"honest"), tuple(map(Case, documents)))
    plain = examine_workload(problem, PlainSubject(candidate, "torch"), workload)
    assert plain.valid, plain.feedback
    verdict = examine_workload(problem, sandbox.subject(candidate), workload)
    assert verdict.valid, verdict.feedback
    assert [point["error"] for point in verdict.points] == [point["error"] for point in plain.points]
    assert verdict.bounds == plain.bounds
    for boxed, free in zip(verdict.points, plain.points, strict=True):
        assert boxed["traffic"] == pytest.approx(free["traffic"], rel=0.02)  # an index's header differs


def test_an_index_that_appends_works_across_processes(sandbox, make_document):
    candidate = Candidate(problem.seed("quest").read_text())
    document = make_document(tokens=40 + 66, steps=66, dim=8)
    workload = Workload(problem.stage("tiny"), Seed(b"append"), (Case(document),))
    plain = examine_workload(problem, PlainSubject(candidate, "torch"), workload)
    verdict = examine_workload(problem, sandbox.subject(candidate), workload)
    assert verdict.valid, verdict.feedback
    assert [point["error"] for point in verdict.points] == [point["error"] for point in plain.points]
