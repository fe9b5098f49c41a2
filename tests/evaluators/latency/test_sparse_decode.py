"""The protocol on a stand-in for a GPU: what honest programs are told, and programs that do other things when timed."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator

import numpy as np
import pytest

from vevolve.evaluators.latency import FAMILY, Device, Measurement
from vevolve.evaluators.latency.cache import Cache, Sizes
from vevolve.evaluators.latency.contestant import unpacked
from vevolve.evaluators.latency.sparse_decode import OBJECTIVES, SparseGround
from vevolve.evaluators.programs import read_program
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.types import Candidate, CandidateFault, Frame, Seed

KEY = Seed(b"a latency ground")
SIZES = Sizes(layers=2, sequences=1, heads=2, tokens=768)
HONEST = """
import torch

def build(keys):
    return {"mean": keys.mean(dim=1).half()}

def select(query, index, cache, budget, rng):
    heads = len(query)
    newest = torch.arange(cache.n - budget.tokens, cache.n, device=query.device).expand(heads, -1)
    ids = newest.clone()
    ids[:, 0] = 0
    logits = query @ cache.keys(ids).mT + index["mean"].sum()
    return ids, torch.ones(ids.shape, device=query.device)
"""
TIMED = "type(cache).__name__ == 'Cache'"
"""How a program tells where it is timed: its cache is no service there."""


def hostile(body: str) -> Candidate:
    """The honest program, with other lines at the start of `select`."""
    at = "    heads = len(query)\n"
    return Candidate(
        "import sys\n" + HONEST.replace(at, at + textwrap.indent(textwrap.dedent(body).rstrip(" ") + "\n", "    "))
    )


@pytest.fixture
def ground(device: Device) -> Iterator[SparseGround]:
    with contextlib.closing(SparseGround(device, KEY, SIZES, rounds=4)) as opened:
        yield opened


def fault(found: Measurement) -> str:
    (one,) = found.candidate
    assert not one.counts and not found.points() and not found.ratios
    (other,) = found.incumbent
    assert other.counts, "an honest program beside it was not timed"
    return one.problem


# ---------------------------------------------------------------------------------------------------------- honest


def test_an_honest_program_has_a_time_with_its_interval_and_what_its_answers_were_worth(
    ground: SparseGround, clock
) -> None:
    found = ground.measure(Candidate(HONEST), Candidate(HONEST + "\n"))
    (one,) = found.candidate
    assert one.counts and one.latency_us is not None and one.calls == 4
    # A millisecond a call of two layers.
    assert (one.latency_us.low, one.latency_us.middle, one.latency_us.high) == pytest.approx((500, 500, 500))
    assert found.ratios["128 tokens"].middle == pytest.approx(1)
    assert one.mode == "eager: no CUDA device" and found.overhead_us == pytest.approx(500)
    # 128 of 768 tokens attended, whose keys were read as well, and an index of 2 x 128 float16 with its header.
    dense = 2 * 2 * 768 * 128 * 2
    assert 128 / 768 < one.figures["traffic"] < 128 / 768 + 4096 / dense
    assert 0 < one.figures["error"] < 10
    (point,) = found.points()
    assert (point.label, point.split, point.family) == ("128 tokens", "select", FAMILY)
    assert all(point[axis.name] > 0 for axis in OBJECTIVES)
    assert found.conditions == {"name": "a CPU that stands in"} and len(found.protocol) == 64
    assert Measurement.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("name", ["vattention", "uniform", "pqcache_tail", "adaptive"])
def test_programs_that_sample_choose_by_query_head_or_have_a_tail_are_one_point_on_both_devices(
    name: str, ground: SparseGround
) -> None:
    by_head = """
import torch
def select(query, cache, budget, rng):
    size = budget.tokens // query.shape[1]
    order = torch.rand(*query.shape[:2], cache.n // 4, generator=rng, device=query.device).argsort(dim=-1)
    ids = order[..., :size] * 4 + torch.arange(query.shape[1], device=query.device)[:, None]
    return ids.int(), torch.full(ids.shape, size / (cache.n // 4), device=query.device)
"""
    program = Candidate(by_head) if name == "adaptive" else read_program(problem.seed(name))
    found = ground.measure(program, Candidate(HONEST))
    assert [one.problem for one in (*found.candidate, *found.incumbent)] == ["", ""]


def test_each_call_asks_something_new_and_the_same_key_asks_the_same() -> None:
    cache = Cache(SIZES, KEY, "cpu")
    asked = [cache.question(number) for number in range(6)]
    queries = np.stack([one.queries for one in asked])
    assert queries.shape == (6, 2, 2, 4, 128)
    for head in queries.reshape(6, -1, 128).swapaxes(0, 1):
        assert len(np.unique(head, axis=0)) == 6
    assert len({seed for one in asked for seed in one.seeds}) == 12
    again = Cache(SIZES, KEY, "cpu").question(3)
    assert (again.queries == asked[3].queries).all() and again.seeds == asked[3].seeds


def test_dense_attention_of_a_question_is_softmax_over_all_tokens_in_float64() -> None:
    cache = Cache(SIZES, KEY, "cpu")
    question = cache.question(1)
    layer, query = cache.layers[1], question.queries[1].astype(np.float64)
    logits = np.einsum("hgd,hnd->hgn", query, layer.keys.astype(np.float64)) / np.sqrt(128)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    right = np.einsum("hgn,hnd->hgd", weights / weights.sum(axis=-1, keepdims=True), layer.values.astype(np.float64))
    assert np.allclose(cache.exact(question)[1], right, rtol=1e-9, atol=1e-12)


def test_the_first_queries_of_a_head_hardly_ever_add_up_to_the_next() -> None:
    cache = Cache(SIZES, KEY, "cpu")
    asked = np.stack([cache.question(number).queries for number in range(12)], axis=-1).astype(np.float64)
    assert np.linalg.matrix_rank(asked, rtol=1e-5).min() >= 10


# --------------------------------------------------------------------------------------------------------- hostile

CHEATS = {
    "attends to other tokens where it is timed": (
        f"if {TIMED}:\n    ids = torch.arange(4, device=query.device).expand(heads, -1)\n    return ids, ids * 0 + 1.0",
        "other tokens than its metered twin",
    ),
    "reads everything where nobody meters it": (
        f"""
        if {TIMED}:
            every = torch.arange(cache.n).expand(heads, -1)
            best = (query @ cache.keys(every).mT).amax(dim=1).topk(budget.tokens).indices
            return best, torch.ones(best.shape)
        """,
        "other tokens than its metered twin",
    ),
    "attends to more tokens than the budget": (
        f"""
        if {TIMED}:
            ids = torch.arange(cache.n).expand(heads, -1)
            return ids, torch.ones(ids.shape)
        """,
        "the budget of 128 a head allows",
    ),
    "skips the attention": (
        f"if {TIMED}:\n    sys.modules['candidate'].attend = lambda query, *_: query * 0",
        "off the attention over its own selection",
    ),
    "answers what it answered before": (
        f"""
        if {TIMED}:
            program = sys.modules['candidate']
            def step(queries, seeds, kept=[]):
                if not kept:
                    pieces = program.stepped(queries)
                    kept.append({{"bytes": program.joined(pieces), "form": program.form(pieces)}})
                return kept[0]
            if program.step.__name__ == 'step' and program.step.__defaults__ is None:
                program.step = step
        """,
        "off the attention over its own selection",
    ),
    "answers with nothing but a form": (
        f"""
        if {TIMED}:
            sys.modules['candidate'].step = lambda queries, seeds: {{
                "bytes": torch.zeros(8, dtype=torch.uint8), "form": torch.tensor([3, 2, 2, 128, 2, 2, 128])}}
        """,
        "an answer of another form",
    ),
    "fails where it is timed": (f"if {TIMED}: 1 // 0", "select: ZeroDivisionError"),
    "returns numbers that are none": (
        f"if {TIMED}:\n    sys.modules['candidate'].attend = lambda query, *_: query * torch.nan",
        "off the attention over its own selection",
    ),
    "fails where it is metered": (f"if not {TIMED}: 1 // 0", "its metered twin failed"),
}


@pytest.mark.parametrize(("body", "said"), CHEATS.values(), ids=CHEATS)
def test_a_program_that_does_something_else_where_it_is_timed_has_no_time_that_counts(
    body: str, said: str, ground: SparseGround
) -> None:
    assert said in fault(ground.measure(hostile(body), Candidate(HONEST)))


def test_a_time_below_what_its_bytes_allow_is_suspect_and_no_point(ground: SparseGround, clock) -> None:
    def says(answer: object) -> float:
        of = getattr(answer, "of", None)  # an empty call has none
        return 1e-9 if of is None else (1e-5 if of.program.source == HONEST else 1.0)

    clock.says = says
    found = ground.measure(Candidate(HONEST), Candidate(HONEST + "\n"))
    (one,) = found.candidate
    assert one.problem.startswith("SUSPECT: a step in 5.00 us, below what its bytes")
    assert one.latency_us is not None and one.floor_us is not None and one.floor_us > one.latency_us.middle
    assert not one.faults and not one.counts and found.points() == () and found.incumbent[0].counts


def test_a_time_below_that_of_an_empty_call_is_suspect(ground: SparseGround, clock) -> None:
    clock.says = lambda answer: 1.0 if hasattr(answer, "of") else 2.0
    (one,) = ground.measure(Candidate(HONEST), Candidate(HONEST)).candidate
    assert "an empty call" in one.suspect and one.floor_us == pytest.approx(1e6)


def test_where_the_incumbent_fails_the_candidate_is_timed_alone(ground: SparseGround) -> None:
    found = ground.measure(Candidate(HONEST), hostile("1 // 0"))
    assert found.candidate[0].counts and len(found.points()) == 1 and found.ratios == {}
    assert "ZeroDivisionError" in found.incumbent[0].problem and "1 // 0" in found.incumbent[0].problem


FORMS = {
    "no arrays": (8, [0, 0]),
    "half a form": (8, [3, 2]),
    "negative sizes": (64, [3, 1, -4, 1, 4, 1, 4]),
    "a size beyond all memory": (64, [3, 3, 1 << 40, 1 << 40, 1 << 40, 1, 4, 1, 4]),
    "no numbers": (64, [float("nan")] * 9),
    "infinite": (64, [float("inf")] * 9),
    "too many words": (64, [3] * 100_000),
    "part of a number": (7, [3, 1, 1, 1, 1, 1, 1]),
}


@pytest.mark.parametrize(("size", "form"), FORMS.values(), ids=FORMS)
def test_an_answer_of_another_form_is_the_programs_fault_and_never_an_error_here(size: int, form: list[float]) -> None:
    frame = Frame({"bytes": np.zeros(size, np.uint8), "form": np.array(form)})
    with pytest.raises(CandidateFault):
        unpacked(frame, 2)


def test_why_a_step_is_not_recorded_is_a_sentence_and_the_programs_own_line_not_what_followed_from_it() -> None:
    from vevolve.evaluators.latency import resident

    said = "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is pinned. Please"
    source = f"def select():\n    raise RuntimeError({said!r})\n"
    resident.begin(source, {}, layers=1, tokens=32, epsilon=None, delta=None)
    after = RuntimeError("CUDA error: operation failed due to a previous error during capture\nmore")
    with pytest.raises(RuntimeError, match=r"^select: RuntimeError: Cannot copy") as raised:
        resident.called("select")
    after.__context__ = raised.value
    told = resident.cause(after)
    assert told.startswith("Cannot copy between CPU and CUDA tensors during CUDA graph capture (line 2: raise Runtime")
    assert resident.cause(RuntimeError("CUDA error: not permitted\nSearch for it")) == "not permitted"
    assert resident.cause(ValueError()) == "ValueError"
