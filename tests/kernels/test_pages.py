"""Selection of pages: bounds against the twin, the choice against a stable sort, and what attention does with it."""

from __future__ import annotations

import pytest
import torch
from tests.kernels.cases import DEVICE, cache_of, query_of, relative_error

from vevolve.errors import BadInput
from vevolve.kernels.attend import naive as attend_naive
from vevolve.kernels.attend.attend import attend
from vevolve.kernels.attend.tuning import Choice
from vevolve.kernels.select import naive
from vevolve.kernels.select.pages import Pages, corners


def _bounds(batch: int, heads: int, pages: int, width: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    keys = torch.randn(batch, heads, pages * 16, width, generator=torch.Generator().manual_seed(3))
    return tuple(bound.to(DEVICE, dtype) for bound in corners(keys))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("lengths", "heads", "group", "width", "dtype"),
    [
        pytest.param((1600,), 1, 4, 64, torch.bfloat16, id="G4"),
        pytest.param((2001, 37), 2, 3, 96, torch.float32, id="ragged-G3-d96"),
        pytest.param((999,), 1, 17, 128, torch.float16, id="G17"),
    ],
)
def test_pages_are_those_of_a_stable_sort_of_right_bounds(
    lengths: tuple[int, ...], heads: int, group: int, width: int, dtype: torch.dtype
) -> None:
    pages = -(-max(lengths) // 16)
    lower, upper = _bounds(len(lengths), heads, pages, width, dtype)
    rng = torch.Generator().manual_seed(1)
    query = torch.randn(len(lengths), heads, group, width, generator=rng).to(DEVICE, dtype)
    select = Pages.of(lower, upper, torch.tensor(lengths, dtype=torch.int32, device=DEVICE), 9, first=1, newest=2)
    ids, counts = select(query)
    truth = naive.page_scores(query, lower, upper)
    assert torch.allclose(select.scores.double(), truth, rtol=1e-5, atol=1e-4)
    for b, length in enumerate(lengths):
        used = -(-length // 16)
        for h in range(heads):
            found = ids[b, h, : int(counts[b, h])].tolist()
            assert len(found) == min(9, used) == len(set(found))
            assert set(found) == naive.top_pages(select.scores[b, h], used, 9, first=1, newest=2)


def test_equal_and_negative_scores_go_to_the_earliest() -> None:
    lower, upper = _bounds(1, 1, 100, 64, torch.float32)
    lower[:, :, 20:], upper[:, :, 20:] = -1.0, -1.0
    query = torch.ones(1, 1, 1, 64, device=DEVICE)
    lower[:, :, :20], upper[:, :, :20] = -2.0, -2.0
    select = Pages.of(lower, upper, torch.tensor([1600], dtype=torch.int32, device=DEVICE), 7, first=1, newest=1)
    assert sorted(select(query)[0][0, 0].tolist()) == [0, 20, 21, 22, 23, 24, 99]


def test_attention_takes_the_chosen_pages_as_they_are() -> None:
    cache = cache_of((320,), 2, 64, torch.float32, 16)
    query = query_of(cache, 4)
    lower, upper = corners(cache.rows(cache.keys, 0)[None])
    ids, counts = Pages.of(lower.contiguous(), upper.contiguous(), cache.lengths, 6)(query)
    out, _ = attend(query, cache, ids, counts=counts, grain=16, choice=Choice(16, 3, 4, 1), checked=True)
    assert relative_error(out, attend_naive.attend(query, cache, ids, counts=counts, grain=16)[0]) < 1e-5


def test_bad_input_is_one_clear_error() -> None:
    lower, upper = _bounds(1, 1, 10, 64, torch.float32)
    held = torch.tensor([160], dtype=torch.int32, device=DEVICE)
    with pytest.raises(BadInput, match="first and the newest among them, got 1 with 1 and 1"):
        Pages.of(lower, upper, held, 1)
    with pytest.raises(BadInput, match="upper of type float32, got float16"):
        Pages.of(lower, upper.half(), held, 4)
    with pytest.raises(BadInput, match="bounds"):
        Pages.of(lower[..., :30], upper[..., :30], held, 4)
    with pytest.raises(BadInput, match="pages of at least one token, got 0"):
        Pages.of(lower, upper, held, 4, page=0)
    with pytest.raises(BadInput, match="lengths of 1 to 160 tokens, got 161 to 161"):
        Pages.of(lower, upper, held + 1, 4)(torch.zeros(1, 1, 1, 64, device=DEVICE), checked=True)
