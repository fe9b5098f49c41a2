"""Every cheat, in the real sandbox, gets the verdict that its header expects and is worth no more than the seed."""

import re

import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.kv_eviction.problem import problem
from vevolve.evaluators.testing import hypervolume
from vevolve.types import Candidate, Seed

CHEATS = problem.cheats()


@pytest.fixture(scope="module")
def judge(sandbox, make_context):
    """The verdict on a program, on contexts whose prompt already looks for what is asked later."""
    cases = []
    for seed in range(4):
        case = make_context(seed, n=64 if seed else 200, layers=(0, 1), dim=32)
        for layer, evidence in case.evidence.items():
            evidence.queries[:, :, -16:] += evidence.keys[:, None, 40, None]
            case.document.layers[layer].queries[:, :, -case.document.steps :] *= 2
        cases.append(case)

    def on(source):
        workload = Workload(problem.stage("search"), Seed(b"cheats"), tuple(cases))
        return examine_workload(problem, sandbox.subject(Candidate(source)), workload)

    return on


@pytest.fixture(scope="module")
def honest(judge):
    verdict = judge(problem.seed(problem.default_seed).read_text())
    assert verdict.valid, verdict.feedback
    return hypervolume(problem, verdict.points)


def test_there_are_cheats_of_every_kind():
    assert len(CHEATS) >= 25
    groups = {re.search(r"^Group: (\w+)", path.read_text(), re.MULTILINE)[1] for path in CHEATS.values()}
    assert groups >= {"sparsity", "numbers", "future", "memory", "files", "recognition"}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_gets_the_expected_verdict_and_gains_nothing(name, judge, honest):
    source = CHEATS[name].read_text()
    expected = re.search(r"^Expected: ([a-z ]+)", source, re.MULTILINE)
    assert expected, f"{name} does not say what it expects"
    verdict = judge(source)
    status = "fair" if verdict.valid else verdict.status
    assert status in expected[1].strip().split(" or "), verdict.feedback
    if verdict.valid:
        assert hypervolume(problem, verdict.points) <= honest


def test_what_is_written_into_the_arguments_changes_no_figure(judge):
    spoilt = CHEATS["changes_its_arguments"].read_text()
    plain = re.sub(r"    (keys|values)\[:\] = .*\n", "", spoilt)
    assert plain != spoilt and judge(spoilt).points == judge(plain).points
