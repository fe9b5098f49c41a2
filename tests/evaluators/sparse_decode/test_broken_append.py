"""An `append` that fails or loses what was generated does not go unseen: neither in tiny, nor in any scored stage."""

from dataclasses import replace

import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.sparse_decode import workload
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, Seed

QUEST = problem.seed("quest").read_text()
BUDGETS = ("32 tokens", "64 tokens", "128 tokens", "256 tokens", "512 tokens")
BROKEN = {
    "raises": "raise KeyError('lost')",
    "returns nothing of use": "return {'covered': index['covered'] + 64}",
    "loses a dimension": "return {**index, 'bounds': fold(index, keys)['bounds'][0]}",
    "returns an empty tensor": "return {**index, 'bounds': keys[:, :0]}",
}


def broken(body):
    """Quest whose select folds as ever, and whose own `append` has another body."""
    source = QUEST.replace("def append(index, keys):", "def fold(index, keys):").replace(
        " append(stored", " fold(stored"
    )
    return f"{source}\n\ndef append(index, keys):\n    {body}\n"


DROPPED = broken("return {**index, 'covered': index['covered'] + keys.shape[1]}")
ZEROED = broken("return fold(index, 0 * keys)")
UNCHANGED = broken("return index")


def points(source, stage, cases):
    """Points on the cases by (family, label)."""
    given = Workload(problem.stage(stage), Seed(b"append"), cases)
    verdict = examine_workload(problem, PlainSubject(Candidate(source), "torch"), given)
    assert verdict.valid, verdict.feedback
    return {(point.family, point.label): point for point in verdict.points}


@pytest.mark.parametrize("name", BROKEN)
def test_an_append_that_fails_or_returns_another_form_ends_in_tiny(name):
    tiny = problem.workload(problem.stage("tiny"), Seed(b"append"))
    verdict = examine_workload(problem, PlainSubject(Candidate(broken(BROKEN[name])), "torch"), tiny)
    assert not verdict.valid
    assert "document tiny" in verdict.feedback


def test_every_scored_workload_asks_steps_before_and_after_an_append():
    for cases in (workload.shipped_cases("search"), workload.shipped_cases("select"), workload.family_cases()):
        for family in {case.family for case in cases}:
            asked = [step for case in cases if case.family == family for step in case.steps]
            assert any(step < 64 for step in asked)
            assert any(step >= 64 for step in asked)
    for case in (*workload.shipped_cases("search"), *workload.shipped_cases("select")):
        assert len(case.steps) <= 8
        assert max(case.steps) < case.document.steps


@pytest.mark.parametrize("split", ["search", "select"])
def test_an_append_that_loses_tokens_is_worse_at_every_budget(split):
    cases = workload.shipped_cases(split)
    long = tuple(case for case in cases if case.asked)
    rest = {case.document.hash for case in cases if not case.asked}
    assert len(long) == 2
    assert {layer for case in long for layer in case.document.layers}.isdisjoint(
        layer for case in cases if case.document.hash in rest for layer in case.document.layers
    )
    # The other documents' heads are not touched by an append: the objective is the mean of both halves.
    honest, dropped = (points(source, split, long) for source in (QUEST, DROPPED))
    for label in BUDGETS:
        assert dropped["", label]["error"] > 1.2 * honest["", label]["error"]
    assert dropped["", "512 tokens"]["error"] > 4 * honest["", "512 tokens"]["error"]


def test_an_append_that_zeroes_what_it_folds_is_worse_where_the_budget_is_not_the_limit():
    long = tuple(case for case in workload.shipped_cases("search") if case.asked)
    honest, zeroed = points(QUEST, "search", long), points(ZEROED, "search", long)
    for label in BUDGETS[2:]:
        assert zeroed["", label]["error"] > 1.2 * honest["", label]["error"]


def test_an_append_that_loses_tokens_is_worse_on_both_families():
    cases = tuple(replace(case, asked=case.asked[-2:]) for case in workload.family_cases() if case.asked)
    honest, dropped = points(QUEST, "select", cases), points(DROPPED, "select", cases)
    assert {case.family for case in cases} == set(workload.FAMILIES)
    for key, point in dropped.items():
        assert point["error"] > 1.1 * honest[key]["error"]


def test_an_index_that_never_grows_is_right_but_dearer():
    long = tuple(case for case in workload.shipped_cases("search") if case.asked)[:1]
    honest, unchanged = points(QUEST, "search", long), points(UNCHANGED, "search", long)
    for label in BUDGETS[:3]:
        assert unchanged["", label]["error"] == pytest.approx(honest["", label]["error"], rel=0.05)
        assert unchanged["", label]["traffic"] > honest["", label]["traffic"]
