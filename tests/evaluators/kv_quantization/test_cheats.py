"""Every cheat, in the real sandbox, gets the verdict that its header expects and is worth no more than the seed."""

import re

import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.kv_quantization.problem import problem
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.evaluators.testing import hypervolume
from vevolve.types import Candidate, Seed

CHEATS = problem.cheats()
BASE = CHEATS["declares_itself_twice"].read_text().replace("REFERENCE = True\nREFERENCE = False\n", "")


@pytest.fixture(scope="module")
def judge(sandbox, make_document):
    """The verdict on a program, on random texts."""
    documents = [make_document(seed, layers=(0, 1)) for seed in range(2)]

    def on(source, stage="search"):
        workload = Workload(problem.stage(stage), Seed(b"cheats"), tuple(map(Case, documents)))
        return examine_workload(problem, sandbox.subject(Candidate(source)), workload)

    return on


@pytest.fixture(scope="module")
def honest(judge):
    verdict = judge(problem.seed(problem.default_seed).read_text())
    assert verdict.valid, verdict.feedback
    return hypervolume(problem, verdict.points)


@pytest.fixture(scope="module")
def plain(judge):
    """The coarse code that the smugglers fall back to, by itself."""
    source = CHEATS["claims_to_be_unbiased"].read_text().replace("UNBIASED = True\n", "")
    verdict = judge(source)
    assert verdict.valid
    return verdict


def test_there_are_cheats_of_every_kind():
    groups = {re.search(r"^Group: (\w+)", path.read_text(), re.MULTILINE)[1] for path in CHEATS.values()}
    assert {"bytes", "smuggling", "memory", "reads", "recognition", "forgery", "answers"} <= groups
    assert len(CHEATS) >= 40


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_gets_the_expected_verdict_and_gains_nothing(name, judge, honest):
    source = CHEATS[name].read_text()
    expected = re.search(r"^Expected: ([a-z ]+)", source, re.MULTILINE)
    assert expected, f"{name} does not say what it expects"
    verdict = judge(source)
    status = "fair" if verdict.valid else verdict.status
    assert status in expected[1].strip().split(" or "), verdict.feedback
    if verdict.valid and Candidate(source).constants.get("REFERENCE") is not True:
        assert hypervolume(problem, verdict.points) <= honest


SMUGGLERS = [name for name in CHEATS if name.startswith("smuggles_")]


@pytest.mark.parametrize("name", SMUGGLERS)
def test_what_was_left_behind_is_gone_in_decode(name, judge, plain):
    cheat = judge(CHEATS[name].read_text())
    assert [point["error"] for point in cheat.points] == [point["error"] for point in plain.points]


def test_a_richer_code_is_not_remembered_under_a_lower_cap(judge, plain):
    cheat = judge(CHEATS["remembers_a_richer_code"].read_text())
    errors = {point.label: point["error"] for point in cheat.points}
    coarse = {point.label: point["error"] for point in plain.points}
    low, high = ["2.75 bits", "3.75 bits", "4.75 bits"], ["6.75 bits", "8.75 bits"]
    assert [errors[label] for label in low] == [coarse[label] for label in low]
    assert all(errors[label] < coarse[label] for label in high)


@pytest.mark.parametrize("name", ["code_of_names", "code_of_shapes", "code_of_types", "code_of_order"])
def test_names_shapes_types_and_tensors_are_charged(name, judge, plain):
    cheat = judge(CHEATS[name].read_text())
    elements = 2 * 2 * 400 * 64
    extra = min(one["bits"] - other["bits"] for one, other in zip(cheat.points, plain.points, strict=True))
    assert extra * elements / 8 >= 60 * (3 + 2 + 8 + 1)  # at least: two letters, one dimension, one byte each


def test_a_claim_that_is_false_is_called_broken(judge):
    verdict = judge(CHEATS["claims_to_be_unbiased"].read_text())
    assert verdict.report["unbiased"]["kept"] is False
    assert "BROKEN" in verdict.feedback
