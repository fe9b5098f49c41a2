"""How a candidate is asked: what each function gets, when, and that select is a function of its arguments."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from vevolve.evaluators.sparse_decode import session
from vevolve.evaluators.sparse_decode.workload import Case, operating_points
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, CandidateFault, Seed

WINDOW = """
import torch

def select(query, cache, budget):
    ids = torch.arange(max(cache.n - (budget.tokens or 32), 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
"""


def spied(tmp_path, body):
    """A program that appends one JSON line for every call to a file; only a subject without a sandbox can."""
    log = tmp_path / "calls.jsonl"
    source = (
        f"import json, torch\ndef note(**facts):\n    open({str(log)!r}, 'a').write(json.dumps(facts) + '\\n')\n{body}"
    )
    return source, lambda: [json.loads(line) for line in log.read_text().splitlines()]


def test_build_gets_the_prompt_and_its_last_queries_and_half_a_prompt_once(tmp_path, make_document, examine):
    document = make_document(tokens=100, steps=3, recorded=60, layers=(2, 5))
    source, calls = spied(
        tmp_path,
        """
def build(keys, values, queries, layer, params, rng):
    newest = float(queries[0, 0, -1, 0]) if queries.shape[2] else None
    draw = int(torch.randint(1 << 40, (1,), generator=rng))
    note(k=list(keys.shape), v=list(values.shape), q=list(queries.shape), layer=layer, last=float(keys[0, -1, 0]),
         query=newest, params=params, draw=draw)
    return {}
def select(query, cache, budget):
    ids = torch.arange(cache.n - 32, cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
""",
    )
    assert examine(source, document).valid
    full = [call for call in calls() if call["k"][1] == 97]
    assert [call["layer"] for call in full] == [2, 5]
    for call in full:
        layer = document.layers[call["layer"]]
        assert call["k"] == call["v"] == [2, 97, 16]
        assert call["q"] == [2, 2, 57, 16]
        assert call["last"] == layer.keys[0, 96, 0]
        assert call["query"] == layer.queries[0, 0, 56, 0]
        assert call["params"] == {}
    assert len({call["draw"] for call in calls()}) == len(calls())


def test_the_build_on_half_a_prompt_gets_the_queries_of_that_half(tmp_path, make_document, examine):
    document = make_document(tokens=100, steps=4, recorded=60)
    source, calls = spied(
        tmp_path,
        """
def build(keys, queries):
    note(k=keys.shape[1], q=queries.shape[2], query=float(queries[0, 0, -1, 0]))
    return {"keys": keys}
def select(query, cache, budget):
    ids = torch.arange(cache.n - 32, cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
""",
    )
    assert examine(source, document).valid
    full, half = calls()
    assert (full["k"], full["q"]) == (96, 56)
    assert (half["k"], half["q"]) == (48, 8)
    assert half["query"] == document.layers[0].queries[0, 0, 7, 0]


def test_select_gets_each_steps_query_length_and_budget_twice(tmp_path, make_document, examine):
    document = make_document(tokens=90, steps=3, recorded=10)
    source, calls = spied(
        tmp_path,
        """
VERIFIED = True
def select(query, cache, budget, layer, rng):
    note(n=cache.n, q=float(query[1, 1, 3]), shape=list(query.shape), layer=layer,
         budget=[budget.tokens, budget.epsilon, budget.delta], draw=int(torch.randint(1 << 40, (1,), generator=rng)))
    ids = torch.arange(cache.n - 8, cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
""",
    )
    assert examine(source, document).valid
    heard = calls()
    asked = 3 * 5 + 1 * 3  # three steps at five token budgets, every fourth of them at three bounds
    assert len(heard) == 2 * asked + session.ALONE
    for call in heard:
        step = call["n"] - 88
        assert call["q"] == document.layers[0].queries[1, 1, 7 + step, 3]
        assert call["shape"] == [2, 2, 16]
    budgets = {tuple(call["budget"]) for call in heard}
    tokens = {(budget, None, None) for budget in (32, 64, 128, 256, 512)}
    assert budgets == tokens | {(None, 0.05, 0.05), (None, 0.1, 0.1), (None, 0.25, 0.25)}
    questions = [(call["n"], *call["budget"], call["draw"]) for call in heard]
    first, second, alone = questions[:asked], questions[asked : 2 * asked], questions[2 * asked :]
    assert set(alone) <= set(first)
    assert sorted(map(str, first)) == sorted(map(str, second))
    assert first != second
    assert first != sorted(first, key=str)
    assert len({call["draw"] for call in heard}) == asked


APPENDING = """
import torch

def build(keys):
    return {"sums": keys.sum(dim=1, keepdim=True), "seen": torch.tensor([keys.shape[1]])}

def append(index, keys, values, layer):
    assert keys.shape[1] == values.shape[1] == 64
    return {"sums": torch.cat([index["sums"], keys.sum(dim=1, keepdim=True)], dim=1), "seen": index["seen"] + 64}

def select(query, index, cache, budget):
    ids = torch.arange(cache.n).expand(len(query), -1)
    seen = int(index["seen"])
    # The index lags behind by what was generated since the last multiple of 64, and never by more.
    assert 0 <= cache.n - 1 - seen < 64, (cache.n, seen)
    assert index["sums"].shape[1] == 1 + (cache.n - 1 - START) // 64
    assert torch.allclose(index["sums"].sum(dim=1), cache.keys(ids[:, :seen]).sum(dim=1), atol=1e-3)
    return ids, torch.ones(ids.shape)
"""


def test_append_folds_every_64_generated_tokens_into_the_index(make_document, examine):
    document = make_document(tokens=20 + 130, steps=130, dim=4)
    verdict = examine("REFERENCE = True\nSTART = 20\n" + APPENDING, document, stage="tiny")
    assert verdict.valid, verdict.feedback
    assert verdict.points[0]["error"] < 1e-6


def test_without_append_the_index_stays_as_it_was_built(make_document, examine):
    document = make_document(tokens=20 + 70, steps=70, dim=4)
    source = """
import torch

def build(keys):
    return {"seen": torch.tensor([keys.shape[1]])}

def select(query, index, cache, budget):
    assert int(index["seen"]) == 20
    ids = torch.arange(max(cache.n - 8, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
"""
    verdict = examine(source, document, stage="tiny")
    assert verdict.valid, verdict.feedback


def test_a_fault_in_append_says_where(make_document, examine):
    document = make_document(tokens=20 + 70, steps=70, dim=4)
    source = WINDOW + "def build(keys):\n    return {'a': keys}\ndef append(index):\n    raise KeyError('lost')\n"
    verdict = examine(source, document)
    assert verdict.status == "crash"
    assert "lost" in verdict.feedback
    assert "append of 64 tokens" in verdict.feedback


def test_a_fault_in_select_names_document_layer_budget_and_step(make_document, examine):
    source = WINDOW.replace("    return", "    assert cache.n != 701 or budget.tokens != 128, 'seven'\n    return")
    verdict = examine(source, make_document(tokens=702, layers=(6,)))
    assert verdict.status == "crash"
    assert "seven" in verdict.feedback
    assert verdict.feedback.endswith("(document prose-0, layer 6, 128 tokens, step 0)")


def test_steps_that_are_not_asked_take_place_for_append_alone(tmp_path, make_document, examine):
    source, calls = spied(
        tmp_path,
        """
def build(keys):
    return {"seen": torch.tensor([keys.shape[1]])}
def append(index, keys):
    note(folded=float(keys[0, 0, 0]))
    return {"seen": index["seen"] + 64}
def select(query, index, cache, budget):
    note(n=cache.n, seen=int(index["seen"]), q=float(query[0, 0, 0]))
    ids = torch.arange(cache.n - 8, cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
""",
    )
    document = make_document(tokens=20 + 140, steps=140, dim=4)
    assert examine(source, Case(document, asked=(3, 63, 64, 139)), stage="tiny").valid
    layer, heard = document.layers[0], calls()
    assert [call["folded"] for call in heard if "folded" in call] == [layer.keys[0, 20, 0], layer.keys[0, 84, 0]]
    asked = {(call["n"], call["seen"], call["q"]) for call in heard if "n" in call}
    assert asked == {(21 + s, 20 + s // 64 * 64, layer.queries[0, 0, s, 0]) for s in (3, 63, 64, 139)}


# ---------------------------------------------------------------------------------------------- read rounds

CHAIN = """
import torch
def build(keys):
    return {str(i): torch.tensor([i]) for i in range(20)}
def select(query, index, cache, budget):
    first = NAME
    for i in range(first, first + COUNT):
        index[str(i)]
    ids = torch.arange(cache.n - 8, cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
"""


def test_whole_tensors_are_one_round_where_the_same_ones_are_read_at_every_step(make_document, examine):
    verdict = examine(CHAIN.replace("NAME", "3").replace("COUNT", "12"), make_document())
    assert verdict.valid, verdict.feedback
    assert verdict.points[0]["rounds"] == 1


def test_whole_tensors_are_a_round_each_where_their_names_differ_between_steps(make_document, examine):
    source = CHAIN.replace("NAME", "int(query[0, 0, 0] > QUERY)")
    document = make_document(steps=8)
    source = source.replace("QUERY", str(float(np.median(document.layers[0].queries[0, 0, :, 0]))))
    few = examine(source.replace("COUNT", "8"), document)
    assert few.valid, few.feedback
    assert few.points[0]["rounds"] == 8
    many = examine(source.replace("COUNT", "9"), document)
    assert (many.valid, many.status) == (False, "wrong")
    assert "9 dependent read rounds" in many.feedback


# ---------------------------------------------------------------------------------------------- memory between steps

REMEMBERING = {
    "keys kept in a global": """
import torch
SEEN = {}
def select(query, cache, budget, layer):
    everything = torch.arange(cache.n).expand(len(query), -1)
    if layer not in SEEN or SEEN[layer].shape[1] < cache.n:
        SEEN[layer] = cache.keys(everything)
    scores = (query @ SEEN[layer][:, :cache.n].mT).sum(dim=1)
    ids = scores.argsort(dim=1, descending=True)[:, :budget.tokens]
    return ids, torch.ones(ids.shape)
""",
    "choices kept in a default argument": """
import torch
def select(query, cache, budget, last=[]):
    if not last:
        start = int(query.abs().sum() * 1000) % 500
        last.append(torch.arange(start, start + 32).expand(len(query), -1))
    return last[0], torch.ones(last[0].shape)
""",
    "a counter that stops reading": """
import torch
calls = 0
def select(query, cache, budget):
    global calls
    calls += 1
    ids = torch.arange(cache.n - 32, cache.n).expand(len(query), -1)
    if calls < 4:
        cache.values(ids)
    return ids, torch.ones(ids.shape)
""",
    "its own randomness": """
import torch
def select(query, cache, budget):
    ids = torch.rand(len(query), cache.n).argsort(dim=1)[:, :32]
    return ids, torch.ones(ids.shape)
""",
    "a probability that depends on the order": """
import torch
calls = 0
def select(query, cache, budget):
    global calls
    calls += 1
    ids = torch.arange(cache.n - 32, cache.n).expand(len(query), -1)
    return ids, torch.full(ids.shape, 1 / calls)
""",
}


@pytest.mark.parametrize("name", REMEMBERING)
def test_whatever_is_remembered_between_steps_makes_a_candidate_unstable(name, make_document, examine):
    verdict = examine(REMEMBERING[name], make_document(), make_document(1))
    assert (verdict.valid, verdict.status) == (False, "unstable")
    assert verdict.feedback.startswith("depends on earlier steps")
    assert "document prose-" in verdict.feedback
    assert "step " in verdict.feedback


def test_a_bet_that_the_same_step_comes_first_twice_is_lost_to_processes_that_know_nothing(make_document):
    """The first step of a text that a process sees pays for the keys; the others use them for free."""
    source = """
import torch
FIRST = []
def select(query, cache, budget):
    FIRST.append(cache.n)
    ids = torch.arange(cache.n).expand(len(query), -1)
    if cache.n == FIRST[0]:
        cache.keys(ids)
    return ids[:, :32], torch.ones(len(query), 32)
"""
    cases = (Case(make_document(tokens=80, steps=8, dim=4)),)

    def passes(alone):
        kept = 0
        for trial in range(40):
            candidate = Candidate(source + f"# {trial}")
            try:
                subject = PlainSubject(candidate, "torch")
                session.run(subject, cases, operating_points(candidate, (32,)), Seed(b"bet"), alone)
                kept += 1
            except CandidateFault as fault:
                assert fault.status == "unstable"
        return kept

    assert passes(alone=0) > 0
    assert passes(alone=session.ALONE) == 0


def test_randomness_from_rng_is_stable_and_differs_by_step(make_document, examine):
    source = """
import torch
def select(query, cache, budget, rng):
    ids = torch.rand(len(query), cache.n, generator=rng).argsort(dim=1)[:, :budget.tokens]
    return ids, torch.full(ids.shape, budget.tokens / cache.n)
"""
    document = make_document()
    one, two = examine(source, document), examine(source, document)
    assert one.valid
    assert one.points == two.points
    other = examine(source, document, seed=b"another run seed")
    assert other.points[0]["error"] != one.points[0]["error"]


def test_the_order_of_questions_depends_on_the_program(tmp_path, make_document, examine):
    body = """
def select(query, cache, budget):
    note(n=cache.n, tokens=budget.tokens)
    ids = torch.arange(cache.n - 8, cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
"""
    source, calls = spied(tmp_path, body)
    examine(source, make_document())
    before = calls()
    examine(source + "\n# another program\n", make_document())
    assert calls()[len(before) :] != before


# ---------------------------------------------------------------------------------------------------------- params


def test_parameters_reach_every_function_as_tensors(make_document, examine):
    source = """
import torch
def build(keys, params):
    return {"w": params["w"] * 2}
def select(query, index, cache, budget, params):
    assert torch.equal(index["w"], params["w"] * 2)
    ids = torch.arange(cache.n - int(params["w"][0]), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
"""
    params = save({"w": np.array([7.0, 1.0], np.float32)})
    verdict = examine(source, make_document(), params=params)
    assert verdict.valid, verdict.feedback
    assert verdict.points[0]["density"] == pytest.approx(7 / 699.5, rel=1e-3)


@pytest.mark.parametrize("params", [b"no safetensors", b"", b"\xff" * 64, save({"w": np.ones(3)})[:-5]])
def test_parameters_that_cannot_be_read_are_the_candidates_fault(params, make_document, examine):
    verdict = examine(WINDOW, make_document(), params=params)
    assert (verdict.valid, verdict.status) == (False, "interface")
    assert "safetensors" in verdict.feedback


def test_parameters_above_8_mib_are_refused():
    with pytest.raises(CandidateFault, match="at most 8388608"):
        session.parameters(Candidate(WINDOW, b"\0" * ((8 << 20) + 1)))


# ----------------------------------------------------------------------------------------------------------- index


@pytest.mark.parametrize(
    "tensor", ["torch.empty(0, 70000)", "torch.empty(3, 0)", "torch.tensor(5.0)"], ids=["first", "second", "scalar"]
)
def test_an_index_with_an_empty_or_scalar_tensor_is_refused(tensor, make_document, examine):
    verdict = examine(WINDOW + f"def build(keys):\n    return {{'a': {tensor}}}\n", make_document())
    assert (verdict.valid, verdict.status) == (False, "wrong")
    assert "empty" in verdict.feedback or "a scalar" in verdict.feedback


def test_an_index_of_65_tensors_is_refused(make_document, examine):
    source = WINDOW + "def build(keys):\n    return {str(i): keys for i in range(65)}\n"
    assert not examine(source, make_document()).valid


def test_index_headers_are_charged_even_where_nothing_is_read(make_document, examine):
    lean = examine(WINDOW, make_document())
    named = examine(WINDOW + "def build(keys):\n    return {'n' * 200: keys[:1, :1, :1]}\n", make_document())
    dense = 2 * 2 * 700 * 16 * 2
    assert named.points[0]["traffic"] - lean.points[0]["traffic"] >= 200 / dense


def test_growth_of_an_index_is_measured_on_half_a_prompt(make_document):
    source = """
import torch
def build(keys):
    n = keys.shape[1]
    return {"all": keys, "book": torch.zeros(64, 8), "both": torch.zeros(n + 400)}
def select(query, cache):
    return torch.zeros(len(query), 1, dtype=torch.long), torch.ones(len(query), 1)
"""
    candidate = Candidate(source)
    cases = (Case(make_document(tokens=402)),)
    found = session.run(PlainSubject(candidate, "torch"), cases, operating_points(candidate, (32,)), Seed(b"s"))
    growth = found.indices[0, 0, 0].growth
    assert growth["all"] == 1
    assert growth["book"] == 0
    assert growth["both"] == pytest.approx(0.5)
