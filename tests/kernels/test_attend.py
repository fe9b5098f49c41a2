"""The attend kernel against its twin: types, widths, groups, pages, ragged lengths, probabilities and padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from tests.kernels.cases import DEVICE, TOLERANCE, cache_of, choose, query_of, relative_error

from vevolve.errors import BadInput
from vevolve.kernels.attend import naive, tuning
from vevolve.kernels.attend.attend import Workspace, attend, chosen
from vevolve.kernels.attend.tune import tune_attend
from vevolve.kernels.attend.tuning import Choice

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
SMALL = Choice(block=16, splits=3, warps=4, stages=1)
SHAPES = [
    # lengths, heads, group, width, type, page
    pytest.param((63,), 1, 4, 64, BF16, None, id="63-tokens"),
    pytest.param((1,), 1, 1, 64, BF16, 16, id="one-token"),
    pytest.param((77, 5, 130), 2, 3, 96, FP16, 16, id="ragged-d96-G3"),
    pytest.param((100, 31), 1, 8, 128, BF16, 1, id="page-of-one-G8"),
    pytest.param((65,), 2, 1, 256, FP32, 64, id="d256-fp32"),
    pytest.param((90, 47), 3, 5, 64, FP32, None, id="H3-G5-fp32"),
    pytest.param((40,), 1, 17, 64, BF16, 8, id="G17"),
]


@pytest.mark.parametrize(("lengths", "heads", "group", "width", "dtype", "page"), SHAPES)
def test_dense_decode_agrees_with_the_twin(
    lengths: tuple[int, ...], heads: int, group: int, width: int, dtype: torch.dtype, page: int | None
) -> None:
    cache = cache_of(lengths, heads, width, dtype, page)
    query = query_of(cache, group)
    out, lse = attend(query, cache, choice=SMALL if DEVICE == "cpu" else None)
    truth, true_lse = naive.attend(query, cache)
    assert relative_error(out, truth) < TOLERANCE[dtype]
    assert torch.allclose(lse.double(), true_lse, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("per_query_head", [False, True], ids=["shared", "per-query-head"])
@pytest.mark.parametrize(("lengths", "heads", "group", "width", "dtype", "page"), SHAPES)
def test_chosen_tokens_with_probabilities_agree_with_the_twin(
    lengths: tuple[int, ...],
    heads: int,
    group: int,
    width: int,
    dtype: torch.dtype,
    page: int | None,
    per_query_head: bool,
) -> None:
    cache = cache_of(lengths, heads, width, dtype, page)
    query = query_of(cache, group)
    ids, log_prob = choose(cache, 37, group if per_query_head else 0)
    out, lse = attend(query, cache, ids, log_prob, checked=True)
    truth, true_lse = naive.attend(query, cache, ids, log_prob)
    assert relative_error(out, truth) < TOLERANCE[dtype]
    assert torch.allclose(lse.double(), true_lse, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("grain", [2, 16])
def test_pages_as_ids_agree_with_the_twin(grain: int) -> None:
    cache = cache_of((77, 5, 130), 2, 64, FP32, 16)
    query = query_of(cache, 4)
    ids, log_prob = choose(cache, 6, grain=grain)
    out, _ = attend(query, cache, ids, log_prob, grain=grain, choice=SMALL, checked=True)
    assert relative_error(out, naive.attend(query, cache, ids, log_prob, grain=grain)[0]) < TOLERANCE[FP32]


def test_counts_cut_the_lists_and_what_lies_beyond_them_is_not_looked_at() -> None:
    cache = cache_of((77, 50), 2, 64, FP32, 16)
    query = query_of(cache, 4)
    ids, log_prob = choose(cache, 40)
    counts = torch.tensor([[7, 40], [1, 23]], dtype=torch.int32, device=DEVICE)
    beyond = torch.arange(40, device=DEVICE) >= counts[..., None]
    out, _ = attend(query, cache, ids.masked_fill(beyond, 1 << 30), log_prob, counts, choice=SMALL, checked=True)
    assert relative_error(out, naive.attend(query, cache, ids, log_prob, counts)[0]) < TOLERANCE[FP32]


@pytest.mark.parametrize("splits", [1, 2, 7, 64])
def test_the_answer_does_not_depend_on_the_number_of_splits(splits: int) -> None:
    cache = cache_of((45,), 2, 64, FP32)
    query = query_of(cache, 2)
    out, _ = attend(query, cache, choice=Choice(16, splits, 4, 1))
    assert relative_error(out, naive.attend(query, cache)[0]) < TOLERANCE[FP32]


def test_a_workspace_serves_one_call_after_the_other() -> None:
    cache = cache_of((45,), 2, 64, FP32)
    workspace = Workspace.of(2, 2, 64, SMALL.splits, cache.keys.device)
    for seed in range(3):
        query = query_of(cache, 2, seed)
        out, _ = attend(query, cache, choice=SMALL, workspace=workspace)
        assert relative_error(out, naive.attend(query, cache)[0]) < TOLERANCE[FP32]


def test_a_workspace_or_a_place_to_write_that_does_not_fit_is_one_clear_error() -> None:
    cache = cache_of((45,), 2, 64, FP32)
    query = query_of(cache, 2)
    # As many numbers, but of one unit in twice the splits.
    narrow = Workspace.of(1, 2, 64, 2 * SMALL.splits, cache.keys.device)
    with pytest.raises(BadInput, match="workspace for 2 units"):
        attend(query, cache, choice=SMALL, workspace=narrow)
    with pytest.raises(BadInput, match="at least one split"):
        attend(query, cache, choice=Choice(16, 0, 4, 1))
    room = Workspace.of(2, 2, 64, SMALL.splits, cache.keys.device)
    with pytest.raises(BadInput, match="workspace's sums of type float32, got float16"):
        attend(query, cache, choice=SMALL, workspace=dataclasses.replace(room, partial=room.partial.half()))
    with pytest.raises(BadInput, match="workspace's arrivals of type int32, got int64"):
        attend(query, cache, choice=SMALL, workspace=dataclasses.replace(room, arrivals=room.arrivals.long()))
    lse = torch.empty(1, 2, 2, device=DEVICE)
    with pytest.raises(BadInput, match="out of type float32, got float16"):
        attend(query, cache, choice=SMALL, out=(query.half(), lse))
    with pytest.raises(BadInput, match="out to be contiguous"):
        attend(query, cache, choice=SMALL, out=(query.mT.contiguous().mT, lse))
    with pytest.raises(BadInput, match=r"logarithm of shape \[1, 2, 2\]"):
        attend(query, cache, choice=SMALL, out=(torch.empty_like(query), lse[..., :1]))


def test_results_are_written_where_they_are_wanted() -> None:
    cache = cache_of((45,), 2, 64, FP32)
    query = query_of(cache, 2)
    place = torch.zeros_like(query), torch.zeros(1, 2, 2, device=DEVICE)
    found = attend(query, cache, choice=SMALL, out=place)
    assert found[0] is place[0] and found[1] is place[1]
    assert relative_error(place[0], naive.attend(query, cache)[0]) < TOLERANCE[FP32]


def test_probabilities_weigh_a_sample_so_that_the_sums_are_unbiased() -> None:
    # Every token at probability 1/2, with log p = log 1/2: numerator and denominator double alike, lse grows by log 2.
    cache = cache_of((33,), 1, 64, FP32)
    query = query_of(cache, 2)
    ids = torch.arange(33, dtype=torch.int32, device=DEVICE).expand(1, 1, 33).contiguous()
    halves = torch.full(ids.shape, 0.5, device=DEVICE).log()
    plain, lse = attend(query, cache, ids, choice=SMALL)
    doubled, more = attend(query, cache, ids, halves, choice=SMALL)
    assert torch.allclose(plain, doubled, atol=1e-6) and torch.allclose(more - lse, torch.tensor(0.6931472))


def test_scores_that_no_exponential_holds_are_merged_all_the_same() -> None:
    cache = cache_of((64,), 1, 64, FP32)
    query = 300 * query_of(cache, 2)
    out, lse = attend(query, cache, choice=SMALL)
    truth, true_lse = naive.attend(query, cache)
    assert true_lse.abs().max() > 1000
    assert relative_error(out, truth) < 1e-4  # a score of 2,000 is known to 1e-4 in float32
    assert torch.allclose(lse.double(), true_lse, rtol=1e-5)


def test_a_head_whose_ids_are_all_padding_gets_no_number() -> None:
    cache = cache_of((20,), 2, 64, FP32)
    ids, _ = choose(cache, 8)
    ids[0, 1] = -1
    out, lse = attend(query_of(cache, 2), cache, ids, choice=SMALL)
    assert out[0, 0].isfinite().all() and out[0, 1].isnan().all() and lse[0, 1].isneginf().all()


def _wrong() -> dict[str, tuple[str, dict[str, object]]]:
    cache = cache_of((40, 20), 2, 64, BF16, 16)
    query = query_of(cache, 4)
    ids, log_prob = choose(cache, 8)
    far = ids.clone()
    far[1, 0, 3] = 20
    apart = ids.clone()
    apart[0, 1] = -1
    shifted = torch.empty(query.numel() + 1, dtype=BF16, device=DEVICE)[1:].view(query.shape)
    strided = dataclasses.replace(cache, keys=cache.keys.transpose(2, 3).contiguous().transpose(2, 3))
    narrow = dataclasses.replace(cache, keys=cache.keys[..., :32], values=cache.values[..., :32])
    pages = dataclasses.replace(cache, table=cache.table + 100 if cache.table is not None else None)
    return {
        "type of the query": ("bfloat16, got float32|query of type bfloat16", {"query": query.float()}),
        "mixed cache": ("one type", {"cache": dataclasses.replace(cache, values=cache.values.half())}),
        "query that is not contiguous": ("contiguous", {"query": query.transpose(1, 2).contiguous().transpose(1, 2)}),
        "misaligned query": ("multiple of 16 bytes", {"query": shifted}),
        "keys across": ("contiguous last dimension", {"cache": strided}),
        "long ids": ("int32", {"ids": ids.long()}),
        "no tokens": ("nothing has no value", {"ids": ids[..., :0].contiguous()}),
        "id out of range": (r"ids of 0 to 19, or -1, in sequence 1, got 20 at \[1, 0, 3\]", {"ids": far}),
        "head without tokens": (r"none at \[0, 1\]", {"ids": apart}),
        "positive logarithm": ("positive or not finite", {"log_prob": log_prob + 9}),
        "page out of range": ("pages of 0 to", {"cache": pages}),
        "width": (
            "d in",
            {"cache": narrow},
        ),
    }


@pytest.mark.parametrize("name", _wrong())
def test_bad_input_is_one_clear_error(name: str) -> None:
    words, changed = _wrong()[name]
    cache = cache_of((40, 20), 2, 64, BF16, 16)
    ids, log_prob = choose(cache, 8)
    given: dict[str, object] = {"query": query_of(cache, 4), "cache": cache, "ids": ids, "log_prob": log_prob} | changed
    if name == "query that is not contiguous":
        words = "contiguous"
    with pytest.raises(BadInput, match=words.split("|")[-1] if "|" in words else words):
        attend(**given, checked=True)  # type: ignore[arg-type]


def test_the_fast_path_leaves_out_ids_beyond_the_length() -> None:
    cache = cache_of((40,), 1, 64, FP32)
    query = query_of(cache, 2)
    ids, _ = choose(cache, 8)
    more = torch.cat([ids, torch.full_like(ids, 40)], dim=-1).contiguous()
    out, lse = attend(query, cache, more, choice=SMALL)
    truth, true_lse = naive.attend(query, cache, ids)
    assert relative_error(out, truth) < 1e-5
    assert torch.allclose(lse.double(), true_lse, atol=1e-5)


def test_the_fastest_setting_is_kept_for_its_class_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tuning.FOLDER, str(tmp_path))
    tuning._kept.cache_clear()
    settings = [Choice(16, splits, 4, 1) for splits in (1, 2, 5)]

    def measure(choice: Choice) -> float:
        if choice.splits == 1:
            raise RuntimeError("does not fit")
        return 1.0 / choice.splits

    best, times = tuning.tune("here", settings, measure)
    assert best.splits == 5 and set(times) == set(settings[1:])
    device = torch.device("cpu")
    assert tuning.choose("here", 8, 1000, device) == best
    assert tuning.choose("elsewhere", 8, 1000, device) != best
    tuning._kept.cache_clear()


@pytest.mark.parametrize("per_query_head", [False, True], ids=["shared", "per-query-head"])
def test_what_was_tuned_for_a_call_is_what_calls_like_it_find(
    per_query_head: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tuning.FOLDER, str(tmp_path))
    tuning._kept.cache_clear()
    cache = cache_of((70,), 1, 64, FP32, 16)
    query = query_of(cache, 2)
    ids, log_prob = choose(cache, 40, 2 if per_query_head else 0)
    truth, _ = naive.attend(query, cache, ids, log_prob)
    errors: list[float] = []

    def last_is_fastest(call: Callable[[], object]) -> float:
        out, _ = cast("tuple[torch.Tensor, torch.Tensor]", call())
        errors.append(relative_error(out, truth))
        return 1.0 / len(errors)

    settings = [Choice(16, splits, 4, 1) for splits in (1, 5)]
    monkeypatch.setattr(tuning, "candidates", lambda *sizes: settings)
    best = tune_attend(query, cache, ids, log_prob, measure=last_is_fastest)
    assert len(errors) == len(settings) and max(errors) < TOLERANCE[FP32]
    tuning._kept.cache_clear()  # as a process that begins
    assert best == settings[-1] == chosen(query, cache, ids)
    assert chosen(query, cache) != best
    tuning._kept.cache_clear()


@pytest.mark.skipif(DEVICE != "cpu", reason="says what happens without a GPU")
def test_tuning_without_a_gpu_is_one_clear_error() -> None:
    cache = cache_of((70,), 1, 64, FP32)
    with pytest.raises(BadInput, match="tensors on an NVIDIA GPU, got some on cpu"):
        tune_attend(query_of(cache, 2), cache)
