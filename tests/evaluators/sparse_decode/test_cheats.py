"""Every cheat, in the real sandbox, gets the verdict that its header expects and is worth no more than the seed."""

import re

import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.evaluators.testing import hypervolume
from vevolve.types import Candidate, Seed

CHEATS = problem.cheats()


@pytest.fixture(scope="module")
def judge(sandbox, make_document):
    """The verdict on a program, on random texts whose queries look for one key each."""
    documents = [make_document(seed, tokens=1100, steps=2, dim=32) for seed in range(2)]
    for document in documents:
        layer = document.layers[0]
        layer.queries[:] = 2.5 * layer.keys[:, None, 300:302] + 0.5 * layer.queries

    def on(source):
        workload = Workload(problem.stage("search"), Seed(b"cheats"), tuple(map(Case, documents)))
        return examine_workload(problem, sandbox.subject(Candidate(source)), workload)

    return on


@pytest.fixture(scope="module")
def honest(judge):
    verdict = judge(problem.seed(problem.default_seed).read_text())
    assert verdict.valid, verdict.feedback
    return hypervolume(problem, verdict.points)


def test_there_are_cheats_of_every_kind():
    assert len(CHEATS) >= 90


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


SMUGGLERS = [name for name in CHEATS if name.startswith("smuggles_")] + ["index_changed_in_place"]


@pytest.fixture(scope="module")
def window(judge):
    plain = judge(
        "import torch\n" + CHEATS["over_budget"].read_text().split("import torch\n")[1].replace("tokens - 1", "tokens")
    )
    assert plain.valid
    return plain


@pytest.mark.parametrize("name", SMUGGLERS)
def test_what_was_left_behind_is_gone_in_select(name, judge, window):
    cheat = judge(CHEATS[name].read_text())
    assert [point["error"] for point in cheat.points] == [point["error"] for point in window.points]


@pytest.mark.parametrize("name", ["index_of_long_names", "index_of_shapes", "index_of_types"])
def test_names_shapes_and_types_are_charged_at_every_step(name, judge, window):
    cheat = judge(CHEATS[name].read_text())
    extra = min(one["traffic"] - other["traffic"] for one, other in zip(cheat.points, window.points, strict=True))
    dense = 2 * 2 * 1100 * 32 * 2  # K and V, heads, tokens, dimensions, bytes of an element
    assert extra * dense >= 60 * 16  # the dimensions of 60 tensors, not to speak of their names
