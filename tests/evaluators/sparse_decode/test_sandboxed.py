"""Honest programs in the real sandbox: the same answers as without one."""

import numpy as np
import pytest
from safetensors.numpy import save

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.evaluators.testing import PlainSubject
from vevolve.sandbox.questions import Sent, encode_call
from vevolve.types import Candidate, Json, Resident, Seed


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


PARAMETRIC = """
import torch

def build(keys, params):
    return {"w": params["w"] * 2}

def select(query, index, cache, budget, params):
    CHANGE
    assert torch.equal(index["w"], params["w"] * 2)
    ids = torch.arange(cache.n - int(params["w"][0]), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
"""


def parametric(change, sandbox, *documents):
    candidate = Candidate(PARAMETRIC.replace("CHANGE", change), save({"w": np.arange(3, 20, dtype=np.float32)}))
    workload = Workload(problem.stage("search"), Seed(b"params"), tuple(map(Case, documents)))
    return examine_workload(problem, sandbox.subject(candidate), workload)


@pytest.mark.parametrize("change", ["pass", "params.clear() or params.update(w=torch.arange(3.0, 20.0))"])
def test_parameters_stay_with_a_process_from_call_to_call(change, sandbox, make_document):
    verdict = parametric(change, sandbox, make_document(), make_document(1, layers=(0, 1)))
    assert verdict.valid, verdict.feedback
    assert verdict.points[0]["density"] == pytest.approx(3 / 699.5, rel=1e-3)


def test_what_is_written_to_the_parameters_is_no_memory_between_steps(sandbox, make_document):
    change = "params['w'][0] = 3 if params['w'][0] > 3 else 4; index = {'w': params['w'] * 2}"
    verdict = parametric(change, sandbox, make_document(), make_document(1))
    assert (verdict.valid, verdict.status) == (False, "unstable")
    assert verdict.feedback.startswith("depends on earlier steps")


def test_a_resident_argument_travels_once_a_process():
    large, sent = Resident({"w": np.zeros(1 << 16, np.float32)}), Sent()
    form = Json(max_bytes=10)

    def size(sent):
        pieces = encode_call("f", (), {"params": large}, {}, form, sent)
        return sum(piece.nbytes if isinstance(piece, np.ndarray) else len(piece) for piece in pieces)

    assert size(sent) > 1 << 18
    assert size(sent) < 200
    assert size(Sent()) > 1 << 18
