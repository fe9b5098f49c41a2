"""Every width with every 16-bit type: attention, codes, and selection by bits against their twins."""

from __future__ import annotations

import pytest
import torch
from tests.kernels.cases import DEVICE, TOLERANCE, cache_of, choose, query_of, relative_error

from vevolve.kernels.attend import naive as attend_naive
from vevolve.kernels.attend.attend import attend
from vevolve.kernels.cache import WIDTHS, Cache
from vevolve.kernels.codecs.levels import codebook
from vevolve.kernels.codecs.packed import Packed
from vevolve.kernels.codecs.rotated import Rotated, rotation
from vevolve.kernels.select import naive as select_naive
from vevolve.kernels.select.hamming import BITS, Hamming, encode
from vevolve.kernels.select.pages import Pages, corners

EVERY = [(width, dtype) for width in WIDTHS for dtype in (torch.bfloat16, torch.float16)]


@pytest.mark.parametrize(("width", "dtype"), EVERY)
def test_attention_to_chosen_tokens_and_to_all_agrees_with_the_twin(width: int, dtype: torch.dtype) -> None:
    cache = cache_of((77, 40), 2, width, dtype, 16)
    query = query_of(cache, 3)
    ids, log_prob = choose(cache, 20)
    sparse, _ = attend(query, cache, ids, log_prob, checked=True)
    dense, _ = attend(query, cache, checked=True)
    assert relative_error(sparse, attend_naive.attend(query, cache, ids, log_prob)[0]) < TOLERANCE[dtype]
    assert relative_error(dense, attend_naive.attend(query, cache)[0]) < TOLERANCE[dtype]


@pytest.mark.parametrize(("width", "dtype"), EVERY)
def test_attention_to_codes_agrees_with_the_twin(width: int, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(width)
    keys, values = (torch.randn(2, 2, 256, width, generator=rng).to(DEVICE) for _ in range(2))
    held = torch.tensor([256, 128], dtype=torch.int32, device=DEVICE)
    query = torch.randn(2, 2, 3, width, generator=rng).to(DEVICE, dtype)
    spin, levels = rotation(width, rng).to(DEVICE), codebook(4, width).to(DEVICE)
    for codes in (Packed.of(keys, values, 4), Rotated.of(keys, values, spin, levels)):
        read = [tensor.transpose(1, 2).contiguous() for tensor in codes.unpack()]
        truth, _ = attend_naive.attend(query.float(), Cache(read[0], read[1], held))
        assert relative_error(codes.attend(query, held, checked=True)[0], truth) < TOLERANCE[dtype]


@pytest.mark.parametrize(("width", "dtype"), EVERY)
def test_selection_by_bits_is_that_of_a_stable_sort(width: int, dtype: torch.dtype) -> None:
    # Small whole numbers, whose products every type holds and every order of adding agrees on.
    rng = torch.Generator().manual_seed(width)
    planes = (torch.randint(0, 4, (2, width, BITS), generator=rng) * 2 - 3).to(DEVICE, dtype)
    keys = torch.randn(2, 2, 256, width, generator=rng).to(DEVICE, dtype)
    query = torch.randint(-4, 5, (2, 2, 3, width), generator=rng).to(DEVICE, dtype)
    held = torch.tensor([256, 130], dtype=torch.int32, device=DEVICE)
    codes = encode(keys, planes)
    ids, _ = Hamming.of(planes, codes, held, 20)(query, checked=True)
    truth = select_naive.hamming(query, planes, codes, held, 20)
    assert [[set(ids[b, h].tolist()) for h in range(2)] for b in range(2)] == truth


@pytest.mark.parametrize(("width", "dtype"), EVERY)
def test_bounds_of_pages_are_those_of_the_twin(width: int, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(width)
    lower, upper = corners(torch.randint(-4, 5, (1, 2, 256, width), generator=rng).to(DEVICE, dtype))
    query = torch.randint(-4, 5, (1, 2, 3, width), generator=rng).to(DEVICE, dtype)
    select = Pages.of(lower, upper, torch.tensor([256], dtype=torch.int32, device=DEVICE), 4)
    select(query, checked=True)
    truth = select_naive.page_scores(query, lower, upper)
    assert torch.equal(select.scores.double(), truth.view_as(select.scores).double())
