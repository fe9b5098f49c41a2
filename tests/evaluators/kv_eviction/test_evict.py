"""Applying a candidate: budgets, the order of equals, evidence, arguments."""

from fractions import Fraction

import numpy as np
import pytest

from vevolve.errors import BadInput
from vevolve.evaluators.kv_eviction.contexts import Evidence
from vevolve.evaluators.kv_eviction.evict import Budget, best, evict, prefill_passes
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, CandidateFault, Seed

NORM = "def score(keys):\n    return -keys.norm(dim=-1)\n"
NEWEST = "import torch\ndef score(keys):\n    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)\n"


def run(source, case, share=Fraction(1, 4), seed=b"s", **more):
    candidate = Candidate(source)
    with PlainSubject(candidate, "torch").fresh() as process:
        budget = Budget.of(share, case.document.prompt)
        return evict(process, candidate, case.evidence, budget, Seed(seed), depth=case.depth, rope_base=1e4, **more)


def rows(kept):
    return [row.tolist() for heads in kept.values() for row in heads]


@pytest.mark.parametrize(
    ("scores", "count", "expected"),
    [
        ([3, 1, 2], 2, [0, 2]),
        ([1, 1, 1, 1], 2, [2, 3]),
        ([np.inf, 0, np.inf, np.inf], 2, [2, 3]),
        ([-np.inf, 5, -np.inf], 2, [1, 2]),
        ([1, 2], 5, [0, 1]),
    ],
)
def test_the_largest_scores_stay_and_of_equals_the_newest(scores, count, expected):
    assert best(np.array(scores, np.float32), count).tolist() == expected


def test_best_is_what_sorting_pairs_gives():
    draw = np.random.default_rng(0)
    for _ in range(50):
        scores = draw.integers(0, 5, 30).astype(np.float32)
        pairs = sorted(range(30), key=lambda j: (-scores[j], -j))[:11]
        assert best(scores, 11).tolist() == sorted(pairs)


@pytest.mark.parametrize(("n", "tokens"), [(32, 1), (63, 1), (64, 2), (416, 13), (1000, 31)])
def test_a_budget_is_the_share_rounded_down(n, tokens):
    assert Budget.of(Fraction(1, 32), n).tokens == tokens


@pytest.mark.parametrize("n", [1, 31])
def test_a_budget_of_less_than_one_token_is_refused_in_one_line(n):
    with pytest.raises(BadInput, match=r"less than one token a head\. Expected at least 32 tokens"):
        Budget.of(Fraction(1, 32), n)


def test_by_default_every_head_of_every_layer_keeps_its_best(make_context):
    case = make_context(layers=(3, 9), n=40)
    kept = run(NORM, case)
    assert list(kept) == [3, 9]
    for layer, heads in kept.items():
        for head, ids in enumerate(heads):
            norms = np.linalg.norm(case.evidence[layer].keys[head], axis=1)
            assert ids.tolist() == sorted(np.argsort(norms)[:10].tolist())


def test_allot_decides_over_all_layers_at_once_and_may_leave_a_head_empty(make_context):
    case = make_context(layers=(3, 9), n=40, notes={"model_layers": "12"})
    source = NEWEST + (
        "def allot(scores, budget, layers, depth):\n"
        "    assert (list(layers), depth, budget.tokens, budget.share) == ([3, 9], 12, 10, 0.25)\n"
        "    kept = torch.zeros(scores.shape, dtype=torch.bool)\n"
        "    kept[0, 1] = True\n"
        "    return kept\n"
    )
    assert rows(run(source, case)) == [[], list(range(40)), [], []]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("kept[0, 0, 0] = True", "keeps 41 tokens over 2 layers of 2 KV heads; .* of 10 a head and layer allows 40"),
        ("kept[:] = True", "keeps 160 tokens"),
        ("kept = kept.to(torch.uint8) * 2", "1 to keep a token and 0 to drop it; found 2"),
        ("kept = kept.float()", "uint8"),
        ("kept = -kept.to(torch.int8)", "uint8"),
        ("kept = kept[:1]", "shape"),
        ("kept = kept.flatten()", "shape"),
    ],
)  # fmt: skip
def test_an_allotment_that_breaks_the_rules_is_refused_and_says_how(make_context, change, found):
    case = make_context(layers=(0, 1), n=40)
    source = NEWEST + (
        "def allot(scores, budget):\n"
        "    kept = torch.zeros(scores.shape, dtype=torch.bool)\n"
        "    kept[..., -budget.tokens:] = True\n"
        f"    {change}\n"
        "    return kept\n"
    )
    with pytest.raises(CandidateFault, match=found) as caught:
        run(source, case)
    assert caught.value.status == "wrong"


def test_the_whole_budget_may_be_spent_to_the_token(make_context):
    case = make_context(layers=(0, 1), n=40)
    source = NEWEST + (
        "def allot(scores, budget):\n"
        "    kept = torch.zeros(scores.shape, dtype=torch.uint8)\n"
        "    kept.view(-1)[: scores.shape[0] * scores.shape[1] * budget.tokens] = 1\n"
        "    return kept\n"
    )
    assert sum(map(len, rows(run(source, case)))) == 40


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("return keys.norm(dim=-1) * torch.nan", "80 NaN of 2 x 40"),
        ("return (keys.half() * 6e4 * 6e4).sum(dim=-1)", "NaN"),
        (
            "return torch.full(keys.shape[:2], torch.inf)",
            "infinity for every token of head 0.*the budget of 10 cannot hold",
        ),
        ("return keys.norm(dim=-1) - torch.tensor([[0.0], [torch.inf]])", "every token of head 1"),
        ("return keys", "shape"),
        ("return keys.norm(dim=-1)[:, :-1]", "shape"),
        ("return keys.norm(dim=-1) + 1j", "numbers"),
        ("return None", "array"),
        ("raise ValueError('no')", "no"),
    ],
)
def test_scores_that_are_none_are_refused(make_context, body, found):
    with pytest.raises(CandidateFault, match=found):
        run(f"import torch\ndef score(keys):\n    {body}\n", make_context(n=40))


def test_halves_integers_and_infinities_are_scores(make_context):
    case = make_context(n=40)
    for body in ("keys.half().norm(dim=-1)", "(keys.norm(dim=-1) * 1000).int()", "1 / (keys.norm(dim=-1) > 4)"):
        assert all(len(row) == 10 for row in rows(run(f"def score(keys):\n    return {body}\n", case)))


def test_score_gets_what_the_task_promises(make_context):
    case = make_context(layers=(3,), heads=3, group=2, n=40, dim=16, notes={"model_layers": "12"})
    source = (
        "import torch\n"
        "def score(keys, values, queries, repeat, repeat_mass, wo, layer, depth, budget, rope_base, params, rng):\n"
        "    assert keys.shape == values.shape == (3, 40, 16) and queries.shape == repeat.shape == (3, 2, 40, 16)\n"
        "    assert repeat_mass.shape == (3, 2, 40) and wo.shape == (3, 2, 16, 8)\n"
        "    assert (layer, depth, rope_base, params, budget.tokens, budget.share) == (3, 12, 1e4, {}, 10, 0.25)\n"
        "    assert all(one.dtype == torch.float32 for one in (keys, values, queries, repeat, repeat_mass, wo))\n"
        "    return torch.rand(3, 40, generator=rng)\n"
    )
    first = rows(run(source, case))
    assert rows(run(source, case)) == first != rows(run(source, case, seed=b"other"))


def test_nothing_of_the_question_is_handed_over(make_context):
    case = make_context(n=40, steps=5)
    assert case.evidence[0].queries.shape[2] == case.evidence[0].keys.shape[1] == 40
    source = "def score(keys, **given):\n    assert 'future' not in given, given\n    return -keys.norm(dim=-1)\n"
    assert len(rows(run(source, case))) == 2


@pytest.mark.parametrize("name", ["repeat", "repeat_mass", "wo"])
def test_evidence_that_was_not_recorded_is_missed_in_one_line(make_context, name):
    with pytest.raises(BadInput, match=f"scores with `{name}`, which the context does not hold"):
        run(f"def score(keys, {name}):\n    return -keys.norm(dim=-1)\n", make_context(evidence=False, n=40))


def test_where_more_tokens_must_stay_than_may_the_newest_do(make_context):
    source = NEWEST.replace("return torch", "found = torch").rstrip() + (
        ".clone()\n    found[:, :30] = torch.inf\n    return found\n"
    )
    assert rows(run(source, make_context(n=40))) == [list(range(20, 30))] * 2


def test_layers_of_a_whole_model_are_evicted_in_one_call():
    draw = np.random.default_rng(0)
    layers = {
        layer: Evidence(*draw.standard_normal((2, 2, 30, 8)).astype(np.float32), np.zeros((2, 2, 30, 8), np.float32))
        for layer in range(30)
    }
    candidate = Candidate(NORM)
    with PlainSubject(candidate, "torch").fresh() as process:
        kept = evict(process, candidate, layers, Budget.of(Fraction(1, 3), 30), Seed(b"s"), depth=30)
    assert list(kept) == list(range(30)) and all(len(row) == 10 for row in rows(kept))


def test_a_second_prefill_is_paid_by_those_that_ask_for_it():
    assert prefill_passes(Candidate("def score(keys, queries): ...")) == 1
    assert prefill_passes(Candidate("def score(keys, repeat): ...")) == 2
    assert prefill_passes(Candidate("def score(keys, *, repeat_mass): ...")) == 2
    assert prefill_passes(Candidate("def score(keys, **anything): ...")) == 2
