"""Selection by bits against a stable sort: groups, ragged lengths, sinks, windows, ties, and a sample that misleads."""

from __future__ import annotations

import pytest
import torch
from tests.kernels.cases import DEVICE, ON_GPU

from vevolve.errors import BadInput
from vevolve.kernels.select import naive
from vevolve.kernels.select.hamming import BITS, Hamming, encode


def _case(lengths: tuple[int, ...], heads: int, group: int, width: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    planes = torch.randn(heads, width, BITS, generator=rng)
    keys = torch.randn(len(lengths), heads, -(-max(lengths) // 16) * 16, width, generator=rng)
    query = torch.randn(len(lengths), heads, group, width, generator=rng)
    held = torch.tensor(lengths, dtype=torch.int32)
    return query.to(DEVICE), planes.to(DEVICE), encode(keys, planes).to(DEVICE), held.to(DEVICE)


@pytest.mark.parametrize(
    ("lengths", "heads", "group", "width", "wanted"),
    [
        pytest.param((2500,), 1, 4, 64, 50, id="G4"),
        pytest.param((3000, 1037), 2, 1, 96, 61, id="ragged-G1-d96"),
        pytest.param((2049,), 2, 3, 128, 41, id="G3"),
        pytest.param((1500,), 1, 8, 64, 200, id="G8"),
        pytest.param((700, 20), 2, 5, 64, 30, id="shorter-than-the-sample-G5"),
        pytest.param((65536, 40001), 2, 4, 128, 1310, id="long", marks=ON_GPU),
    ],
)
def test_the_tokens_are_those_of_a_stable_sort(
    lengths: tuple[int, ...], heads: int, group: int, width: int, wanted: int
) -> None:
    query, planes, codes, held = _case(lengths, heads, group, width)
    select = Hamming.of(planes, codes, held, wanted, sinks=3, window=5, chunk=1024)
    ids, counts = select(query)
    truth = naive.hamming(query, planes, codes, held, wanted, sinks=3, window=5)
    assert not select.misled.any()
    for b, length in enumerate(lengths):
        for h in range(heads):
            assert int(counts[b, h]) == min(wanted, length)
            found = ids[b, h, : int(counts[b, h])].tolist()
            assert len(set(found)) == len(found) and set(found) == truth[b][h]


@pytest.mark.parametrize(("wanted", "sinks", "window"), [(300, 0, 300), (300, 4, 290), (2998, 4, 0)])
def test_a_selection_that_is_mostly_forced_or_nearly_everything_is_not_misled(
    wanted: int, sinks: int, window: int
) -> None:
    query, planes, codes, held = _case((2999,), 1, 3, 96)
    select = Hamming.of(planes, codes, held, wanted, sinks, window, chunk=1024)
    ids, _ = select(query)
    assert set(ids[0, 0].tolist()) == naive.hamming(query, planes, codes, held, wanted, sinks, window)[0][0]
    assert int(select.misled) == 0


def test_the_sample_reaches_the_newest_tokens_of_any_length() -> None:
    # Just short of twice the sample; all of the best are in the last third.
    query, planes, codes, held = _case((2040,), 1, 1, 64)
    codes[:, :, 1400::2] = encode(query, planes)
    select = Hamming.of(planes, codes, held, 200, sinks=0, chunk=1024)
    ids, _ = select(query)
    assert set(ids[0, 0].tolist()) == naive.hamming(query, planes, codes, held, 200, sinks=0)[0][0]
    assert int(select.misled) == 0


def test_a_second_call_answers_the_second_query() -> None:
    query, planes, codes, held = _case((1500,), 1, 4, 64)
    select = Hamming.of(planes, codes, held, 40, chunk=1024)
    select(-query)
    ids, _ = select(query)
    assert set(ids[0, 0].tolist()) == naive.hamming(query, planes, codes, held, 40)[0][0]


def test_equal_scores_go_to_the_earliest_blocks() -> None:
    query, planes, codes, held = _case((1500,), 1, 4, 64)
    codes = torch.zeros_like(codes)
    ids, _ = Hamming.of(planes, codes, held, 64, sinks=0, chunk=1024)(query)
    assert sorted(ids[0, 0].tolist()) == list(range(64))


def test_a_sample_that_misleads_is_told_and_the_number_stays_right() -> None:
    query, planes, codes, held = _case((4096,), 1, 4, 64)
    like = encode(query[:, :, :1], planes)[0, 0, 0]
    sampled = (torch.arange(4096) % 32 < 8).to(codes.device)
    codes = torch.where(sampled, like, ~like).expand_as(codes).contiguous()  # what the sample sees is unlike the rest
    select = Hamming.of(planes, codes, held, 3000, sinks=0, chunk=1024)
    ids, counts = select(query)
    assert int(counts) == 3000 and len(set(ids[0, 0].tolist())) == 3000
    assert int(select.misled) == 1


def test_bad_input_is_one_clear_error() -> None:
    query, planes, codes, held = _case((100,), 2, 4, 64)
    with pytest.raises(BadInput, match="codes of type int32, got int64"):
        Hamming.of(planes, codes.long(), held, 10)
    with pytest.raises(BadInput, match="multiple of 16 tokens, got 100"):
        Hamming.of(planes, codes[:, :, :100].contiguous(), held, 10)
    with pytest.raises(BadInput, match="planes of bfloat16, float16 or float32"):
        Hamming.of(planes.double(), codes, held, 10)
    with pytest.raises(BadInput, match="sinks and window among them, got 3 with 4 and 0"):
        Hamming.of(planes, codes, held, 3)
    with pytest.raises(BadInput, match="query to be contiguous"):
        Hamming.of(planes, codes, held, 10)(query.mT.contiguous().mT)
    with pytest.raises(BadInput, match="query of type float32"):
        Hamming.of(planes, codes, held, 10)(query.half())
    with pytest.raises(BadInput, match="chunk of a power of two of 32 to 32768 tokens, got 1000"):
        Hamming.of(planes, codes, held, 10, chunk=1000)
    with pytest.raises(BadInput, match="lengths of 1 to 112 tokens, got 113 to 113"):
        Hamming.of(planes, codes, held + 13, 10)(query, checked=True)
    with pytest.raises(BadInput, match="at least one query head"):
        Hamming.of(planes, codes, held, 10)(query[:, :, :0])
    with pytest.raises(BadInput, match="groups of up to 255 query heads, got 256"):
        Hamming.of(planes, codes, held, 10)(query.repeat(1, 1, 64, 1))
