"""vAttention's step against its twin on the same random numbers, and the twin's promises by Monte Carlo."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest
import torch
from tests.kernels.cases import DEVICE, TOLERANCE, cache_of, choose, query_of, relative_error

from vevolve.errors import BadInput
from vevolve.kernels.attend import naive as attend_naive
from vevolve.kernels.attend.tuning import Choice
from vevolve.kernels.cache import Cache
from vevolve.kernels.sample import naive
from vevolve.kernels.sample.promises import promised
from vevolve.kernels.sample.vattention import VAttention
from vevolve.kernels.select.hamming import BITS, Hamming, encode

MANY = 20000 if DEVICE == "cuda" else 1100
"""Tokens whose numbers are drawn by many programs."""
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


@dataclasses.dataclass(frozen=True)
class Given:
    """A predictor that has made up its mind."""

    ids: torch.Tensor
    counts: torch.Tensor

    def __call__(self, query: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        return self.ids, self.counts


def given(cache: Cache, listed: int) -> Given:
    """Distinct tokens of each head, fewer in a shorter sequence."""
    ids, _ = choose(cache, listed)
    counts = (ids >= 0).sum(dim=-1, dtype=torch.int32)
    return Given(ids.sort(dim=-1, descending=True).values, counts)


def _twin(step: VAttention, query: torch.Tensor, predictor: Given, seed: int, b: int, h: int, mode: str) -> naive.Drawn:
    cache = step.cache
    keys, values = (cache.rows(tensor, b)[h].float().cpu() for tensor in (cache.keys, cache.values))
    fixed = predictor.ids[b, h, : int(predictor.counts[b, h])].long().cpu()
    uniform = naive.numbers(seed, b * cache.heads + h, len(keys))
    promises = promised(mode, 0.2, 0.2)
    rule = {"share": step.share, "least": step.least, "wanted": int(step.sizes[b, h])}
    return naive.sample(query[b, h].float().cpu(), keys, values, fixed, promises, uniform, **rule)


def test_the_generator_is_philox() -> None:
    # The known answer of Random123 for counter and key 0.
    zero = torch.zeros(1, dtype=torch.int64)
    assert [int(word) for word in naive.philox(0, zero, 0)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_numbers_are_uniform_in_each_digit_and_two_units_share_none() -> None:
    # In a fixed stream of 2^16: five standard errors.
    one, other = (naive.numbers(9, unit, 1 << 16) for unit in (0, 1))
    assert int(one.min()) >= 0 and int(one.max()) < naive.NUMBERS
    for place in range(naive.DIGITS):
        ones, unlike = one >> place & 1, (one ^ other) >> place & 1
        assert abs(int(ones.sum()) - (1 << 15)) < 5 * 128 and abs(int(unlike.sum()) - (1 << 15)) < 5 * 128
    counts = torch.bincount(one >> 4, minlength=256).double()
    assert abs(float(((counts - 256) ** 2 / 256).sum()) - 255) < 5 * (2 * 255) ** 0.5


@pytest.mark.parametrize(
    ("lengths", "heads", "group", "width", "dtype", "page", "mode"),
    [
        pytest.param((300,), 1, 5, 64, FP32, None, "output", id="G5"),
        pytest.param((400, 37), 1, 3, 96, FP16, 16, "output", id="ragged-paged-G3-d96"),
        pytest.param((260,), 2, 1, 128, BF16, None, "numerator", id="two-heads-G1-d128"),
        pytest.param((129, 5), 1, 3, 64, FP32, None, "denominator", id="fewer-than-the-pilot"),
        pytest.param((MANY,), 1, 2, 64, FP16, None, "output", id="many-chunks-of-words"),
    ],
)
def test_the_step_agrees_with_the_twin(
    lengths: tuple[int, ...], heads: int, group: int, width: int, dtype: torch.dtype, page: int | None, mode: str
) -> None:
    cache = cache_of(lengths, heads, width, dtype, page)
    query, predictor = query_of(cache, group) / 2, given(cache, 11)
    step = VAttention.of(cache, predictor, group, 0.2, 0.2, mode, pilot=0.15, least=16, seed=1 << 40)
    out, lse = step(query, checked=True)
    assert int(step.seed) == (1 << 40) + 1 and not step.short.any()
    for b in range(len(lengths)):
        for h in range(heads):
            drawn = _twin(step, query, predictor, 1 << 40, b, h, mode)
            found = int(step.counts[b, h])
            assert step.ids[b, h, :found].tolist() == drawn.ids.tolist()
            assert torch.allclose(step.log_prob[b, h, :found].double().cpu(), drawn.log_prob, atol=1e-6)
            assert int(step.pilots[b, h]) == drawn.pilot
            left = lengths[b] - int(predictor.counts[b, h]) - drawn.pilot
            need = min(max(drawn.needed, drawn.pilot, 16), left)
            assert int(step.sizes[b, h]) == pytest.approx(need, rel=0.02, abs=1)
    truth, true_lse = attend_naive.attend(query, cache, step.ids, step.log_prob, step.counts)
    assert relative_error(out, truth) < TOLERANCE[dtype]
    assert torch.allclose(lse.double(), true_lse, atol=TOLERANCE[dtype])


def _handed_on(source: str) -> list[str]:
    """Variables that a loop of kernels gives the value which another one has from the trip before, and where."""
    found: list[str] = []
    for loop in ast.walk(ast.parse(source)):
        if not isinstance(loop, ast.For | ast.While) or "static_range" in ast.unparse(loop).splitlines()[0]:
            continue
        names = [name for name in ast.walk(loop) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)]
        set_last = {name.id: max(other.lineno for other in names if other.id == name.id) for name in names}
        for step in ast.walk(loop):
            if not isinstance(step, ast.Assign):
                continue
            taken = step.value.elts if isinstance(step.value, ast.Tuple) else [step.value]
            found += [
                f"{name.id} in line {step.lineno}"
                for name in taken
                if isinstance(name, ast.Name) and set_last.get(name.id, 0) >= step.lineno
            ]
    return found


def test_no_loop_of_a_kernel_hands_a_value_on_from_one_variable_to_another() -> None:
    # Triton's compiler, unlike its interpreter, takes such a variable for unchanged where both began with one value.
    assert _handed_on("for i in range(n):\n    a = b\n    b = f(i)") == ["b in line 2"]
    assert _handed_on("for i in range(n):\n    b = f(i)\n    a = b") == []
    files = [*Path(naive.__file__).parents[1].glob("*/*kernel.py")]
    assert len(files) > 8
    assert {path.name: found for path in files if (found := _handed_on(path.read_text()))} == {}


def test_a_later_call_draws_anew_and_the_same_seed_draws_the_same() -> None:
    cache = cache_of((300,), 1, 64, FP32)
    query, predictor = query_of(cache, 2) / 2, given(cache, 11)
    step = VAttention.of(cache, predictor, 2, 0.5, 0.5, least=16)
    found = []
    for seed in (3, 4, 3):
        step.seed.fill_(seed)
        step(query)
        found.append(step.ids[0, 0, : int(step.counts)].tolist())
    assert found[0] == found[2] != found[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_graph_of_the_step_answers_as_the_step_does_and_draws_anew_at_each_replay() -> None:
    cache = cache_of((20000, 700), 2, 128, BF16, 16)
    query, predictor = query_of(cache, 4) / 2, given(cache, 60)
    step = VAttention.of(cache, predictor, 4, 0.3, 0.3)
    step(query)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, _ = step(query)
    drawn = []
    for seed in (5, 6):
        graph.replay()
        step.seed.fill_(seed)
        graph.replay()
        found, ids = out.clone(), step.ids.clone()
        step.seed.fill_(seed)
        again, _ = step(query)
        assert torch.equal(ids, step.ids) and torch.equal(found, again)
        drawn.append(ids)
    assert not torch.equal(*drawn)


def test_over_a_real_predictor_a_promise_of_nearly_no_error_reads_everything() -> None:
    cache = cache_of((210,), 1, 64, FP32, 16)
    query = query_of(cache, 3)
    planes = torch.randn(1, 64, BITS, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    codes = torch.zeros(1, 1, 224, dtype=torch.int32, device=DEVICE)
    codes[:, :, :210] = encode(cache.rows(cache.keys, 0)[None], planes)
    step = VAttention.of(cache, Hamming.of(planes, codes, cache.lengths, 20, window=4, chunk=1024), 3, 1e-6, 0.01)
    out, _ = step(query, checked=True)
    assert sorted(step.ids[0, 0, : int(step.counts)].tolist()) == list(range(210))
    assert relative_error(out, attend_naive.attend(query, cache)[0]) < TOLERANCE[FP32]


def test_an_id_outside_of_the_sequence_is_left_out_where_it_is_not_looked_for() -> None:
    cache = cache_of((200,), 1, 64, FP32)
    query, predictor = query_of(cache, 2) / 2, given(cache, 11)
    predictor.ids[0, 0, 3], predictor.ids[0, 0, 5] = 1 << 30, -7
    step = VAttention.of(cache, predictor, 2, 0.5, 0.5, least=16)
    out, _ = step(query)
    kept = step.ids.clamp(min=-1)
    kept[kept >= 200] = -1
    assert relative_error(out, attend_naive.attend(query, cache, kept, step.log_prob, step.counts)[0]) < TOLERANCE[FP32]
    assert (step.marks == 0).all()


def test_too_little_room_is_told_and_the_list_stays_within_it() -> None:
    cache = cache_of((400,), 1, 64, FP32)
    query, predictor = query_of(cache, 1), given(cache, 11)
    step = VAttention.of(cache, predictor, 1, 1e-3, 0.01, pilot=0.1, least=16, room=150)
    out, _ = step(query, checked=True)
    assert int(step.short) == 1 and int(step.sizes) > 150 and 60 < int(step.counts) <= 150
    assert out.isfinite().all()


def _trials(mode: str, epsilon: float, delta: float, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Errors of numerators and denominators, relative, and what each token weighed, of `count` draws of the twin."""
    rng = torch.Generator().manual_seed(5)
    keys, values = torch.randn(400, 8, generator=rng), 1 + torch.randn(400, 8, generator=rng)
    query = torch.randn(1, 8, generator=rng)
    w = (keys.double() @ query[0].double() / 8**0.5).exp()
    fixed = w.topk(20).indices
    numerator, denominator = w @ values.double(), w.sum()
    errors, weights = torch.zeros(count, 2), torch.zeros(count, 400, dtype=torch.float64)
    for trial in range(count):
        uniform = naive.numbers(77, trial, 400)
        promises = promised(mode, epsilon, delta)
        drawn = naive.sample(query, keys, values, fixed, promises, uniform, share=6554, least=32)
        weights[trial, drawn.ids] = (-drawn.log_prob).exp()
        errors[trial, 0] = ((weights[trial] * w) @ values.double() - numerator).norm() / numerator.norm()
        errors[trial, 1] = ((weights[trial] * w).sum() - denominator) / denominator
    return errors[:, 0], errors[:, 1], weights


@pytest.mark.parametrize(("mode", "which"), [("denominator", 1), ("numerator", 0)])
def test_every_token_weighs_one_in_the_mean_and_a_promise_is_kept_as_often_as_it_says(mode: str, which: int) -> None:
    # In fixed streams: 400 draws, four standard errors for one mean, five for the worst of 400.
    errors = _trials(mode, 0.08, 0.2, 400)
    weights = errors[2]
    spread = weights.std(dim=0).clamp(min=1e-12) / 400**0.5
    assert (weights.mean(dim=0) - 1).div(spread).abs().max() < 5
    signed = errors[1]
    assert abs(float(signed.mean())) < 4 * float(signed.std()) / 400**0.5
    broken = float((errors[which].abs() > 0.08).double().mean())
    assert 0.02 < broken <= 0.2 + 2 * (0.2 * 0.8 / 400) ** 0.5


def test_bad_input_is_one_clear_error() -> None:
    cache = cache_of((300,), 2, 64, FP32)
    query, predictor = query_of(cache, 2), given(cache, 11)
    with pytest.raises(BadInput, match="mode out of denominator, numerator, output, got 'ratio'"):
        VAttention.of(cache, predictor, 2, 0.1, 0.1, "ratio")
    with pytest.raises(BadInput, match="delta in"):
        VAttention.of(cache, predictor, 2, 0.1, 1.0)
    with pytest.raises(BadInput, match="predictor for 1 sequences of 2 KV heads, got 1 of 1"):
        VAttention.of(cache, Given(predictor.ids[:, :1], predictor.counts[:, :1]), 2, 0.1, 0.1)
    with pytest.raises(BadInput, match="at least one token, got one of none"):
        VAttention.of(cache, Given(predictor.ids[..., :0], predictor.counts), 2, 0.1, 0.1)
    with pytest.raises(BadInput, match="so that 11 chosen ones and a pilot of about 32 fit, got 40"):
        VAttention.of(cache, predictor, 2, 0.1, 0.1, room=40)
    step = VAttention.of(cache, predictor, 2, 0.1, 0.1)
    with pytest.raises(BadInput, match="query of type float32, got float16"):
        step(query.half())
    with pytest.raises(BadInput, match="query to be contiguous"):
        step(query.mT.contiguous().mT)
    predictor.ids[0, 1, 2] = predictor.ids[0, 1, 3]
    with pytest.raises(BadInput, match=r"distinct ids of the predictor, got some twice at \[0, 1\]"):
        step(query, checked=True)
    predictor.ids[0, 0, 0] = 300
    with pytest.raises(BadInput, match=r"ids in 0 to 299 at \[0, 0\], got"):
        step(query, checked=True)


def test_a_predictor_whose_lists_cannot_be_read_is_one_clear_error() -> None:
    cache = cache_of((300,), 2, 64, FP32)
    query, predictor = query_of(cache, 2), given(cache, 11)
    ids, counts = predictor.ids, predictor.counts
    for words, chosen in (
        ("predictor's ids of type int32, got int64", Given(ids.long(), counts)),
        ("predictor's counts of type int32, got int64", Given(ids, counts.long())),
        ("predictor's ids to be contiguous", Given(ids.mT.contiguous().mT, counts)),
        ("predictor's counts of shape", Given(ids, counts[:, :1].contiguous())),
    ):
        with pytest.raises(BadInput, match=words):
            VAttention.of(cache, chosen, 2, 0.1, 0.1)(query)
    for more in (1, -12):
        with pytest.raises(BadInput, match="predictor's counts in 0 to 11"):
            VAttention.of(cache, Given(ids, counts + more), 2, 0.1, 0.1)(query, checked=True)


def test_no_split_is_one_clear_error() -> None:
    cache = cache_of((300,), 2, 64, FP32)
    with pytest.raises(BadInput, match="at least one split, got 2 and 0"):
        VAttention.of(cache, given(cache, 11), 2, 0.1, 0.1, choices=(Choice(16, 2, 4, 1), Choice(16, 0, 4, 1)))
