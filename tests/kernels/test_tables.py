"""Selection by sums of table entries, for PQCache and SOCKET: right tables, and a choice by them like a sort's."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.kernels.cases import DEVICE, ON_GPU

from vevolve.errors import BadInput
from vevolve.kernels.select import collisions, naive, product
from vevolve.kernels.select.collisions import Collisions
from vevolve.kernels.select.product import Product
from vevolve.kernels.select.tables import BINS, GAIN, Tables, room_for

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
SHAPES = [
    # lengths, heads, group, width, type
    pytest.param((2100,), 1, 4, 64, BF16, id="G4"),
    pytest.param((1100, 37), 1, 3, 96, FP32, id="ragged-G3-d96"),
    pytest.param((999,), 1, 1, 128, FP16, id="G1-d128"),
    pytest.param((777, 20), 1, 5, 64, FP32, id="shorter-than-the-sample-G5"),
]


def _drawn(lengths: tuple[int, ...], heads: int, group: int, width: int) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(7)
    keys = torch.randn(len(lengths), heads, max(lengths), width, generator=rng)
    query = torch.randn(len(lengths), heads, group, width, generator=rng)
    return query.to(DEVICE), keys.to(DEVICE), torch.tensor(lengths, dtype=torch.int32, device=DEVICE)


def _product(
    lengths: tuple[int, ...], heads: int, group: int, width: int, dtype: torch.dtype, own: bool, passes: int
) -> tuple[torch.Tensor, Product]:
    query, keys, held = _drawn(lengths, heads, group, width)
    rng = torch.Generator().manual_seed(8)
    batch = (len(lengths),) if own else ()
    books = torch.randn(*batch, heads, 4, 16, width // 4, generator=rng).to(DEVICE)
    codes = product.encode(keys, books)
    select = Product.of(books.to(dtype), codes, held, 40, sinks=3, window=5, passes=passes, chunk=1024)
    return query.to(dtype), select


def _collisions(
    lengths: tuple[int, ...],
    heads: int,
    group: int,
    width: int,
    dtype: torch.dtype,
    planes: int,
    normed: bool,
    tables: int = 4,
) -> tuple[torch.Tensor, Collisions]:
    query, keys, held = _drawn(lengths, heads, group, width)
    rng = torch.Generator().manual_seed(9)
    normals = torch.randn(tables * planes, width, generator=rng).to(DEVICE)
    low, high = collisions.encode(keys, normals, tables)
    norms = (0.5 + torch.rand(low.shape[0], heads, max(lengths), generator=rng)).half().to(DEVICE) if normed else None
    select = Collisions.of(normals.to(dtype), low, high, held, 40, 3, 5, norms=norms, passes=2, chunk=1024)
    return query.to(dtype), select


def _distances(select: Tables, codes: torch.Tensor, b: int, h: int) -> torch.Tensor:
    """By the kernel's tables, of all visible tokens of a head; codes int [B, H, n, parts]."""
    n, tables = int(select.lengths[b]), select.tables.view(*select.counts.shape, *select.tables.shape[1:])
    total = naive.sums(tables[b, h].long(), codes[b, h, :n])
    if select.norms is None:
        return tables.shape[2] * GAIN - total
    return 0x7F800000 - (total.float() * select.norms[b, h, :n].float()).view(torch.int32).long()


def _codes(select: Collisions) -> torch.Tensor:
    """Buckets int32 [B, H, n, tables]."""
    codes = select.codes.int()
    if select.high is not None:
        parts = [(select.high.int() >> (2 * place) & 3) << 8 for place in range(4)]
        codes = codes + torch.stack(parts, dim=3).flatten(2, 3)
    return codes.transpose(2, 3)


def _found(select: Tables, b: int, h: int) -> set[int]:
    found = select.ids[b, h, : int(select.counts[b, h])].tolist()
    assert len(set(found)) == len(found) == min(select.ids.shape[2], int(select.lengths[b]))
    return set(found)


@pytest.mark.parametrize(("lengths", "heads", "group", "width", "dtype"), SHAPES)
def test_products_choose_the_bins_nearest_to_the_top_of_right_tables(
    lengths: tuple[int, ...], heads: int, group: int, width: int, dtype: torch.dtype
) -> None:
    query, select = _product(lengths, heads, group, width, dtype, own=len(lengths) > 1, passes=1)
    select(query, checked=True)
    gains = naive.product_tables(query, select.codebooks)
    assert (select.tables.view(gains.shape).double() - gains).abs().max() < 0.55
    assert not select.misled.any()
    for b in range(len(lengths)):
        for h in range(heads):
            low, shift = select.room.frames.view(len(lengths), heads, 2)[b, h].tolist()
            distances = _distances(select, select.codes, b, h)
            assert _found(select, b, h) == naive.nearest(distances, 40, 3, 5, low, shift, BINS)


@pytest.mark.parametrize(("lengths", "heads", "group", "width", "dtype"), SHAPES[:3:2])
def test_further_passes_make_the_choice_that_of_a_stable_sort(
    lengths: tuple[int, ...], heads: int, group: int, width: int, dtype: torch.dtype
) -> None:
    query, select = _product(lengths, heads, group, width, dtype, own=False, passes=4)
    select(query)
    assert (select.resolution == 1).all()
    for b in range(len(lengths)):
        for h in range(heads):
            assert _found(select, b, h) == naive.nearest(_distances(select, select.codes, b, h), 40, 3, 5)


@pytest.mark.parametrize(("planes", "normed"), [(5, True), (10, False)])
@pytest.mark.parametrize(("lengths", "heads", "group", "width", "dtype"), SHAPES[1:])
def test_collisions_choose_by_tables_that_are_softmaxes(
    lengths: tuple[int, ...], heads: int, group: int, width: int, dtype: torch.dtype, planes: int, normed: bool
) -> None:
    query, select = _collisions(lengths, heads, group, width, dtype, planes, normed)
    select(query, checked=True)
    truth = naive.soft_tables(query, select.planes, 4, select.tau) * GAIN / (group * select.likeliest)
    assert (select.tables.view(truth.shape).double() - truth).abs().max() < 1
    codes = _codes(select)
    for b in range(len(lengths)):
        for h in range(heads):
            low, shift = select.room.frames.view(len(lengths), heads, 2)[b, h].tolist()
            distances = _distances(select, codes, b, h)
            assert _found(select, b, h) == naive.nearest(distances, 40, 3, 5, low, shift, BINS)


LONG = [
    pytest.param((2100, 700), id="two-chunks"),
    pytest.param((65536, 40001), id="long", marks=ON_GPU),
]


def _lack(select: Tables, codes: torch.Tensor, b: int, h: int) -> int:
    """By how much the worst token that was chosen by its score is worse than the best that was left out."""
    distances = _distances(select, codes, b, h)
    chosen = torch.zeros(len(distances), dtype=torch.bool)
    chosen[list(_found(select, b, h))] = True
    assert chosen[: select.sinks].all() and chosen[len(chosen) - select.window :].all()
    free, chosen = (each[select.sinks : len(chosen) - select.window] for each in (distances.cpu(), chosen))
    return int(free[chosen].max() - free[~chosen].min())


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("lengths", LONG)
def test_no_token_left_out_is_better_than_a_chosen_one_by_the_resolution(lengths: tuple[int, int], passes: int) -> None:
    query, few = _product(lengths, 2, 4, 128, BF16, own=False, passes=passes)
    few = dataclasses.replace(few, room=room_for(2, 2, lengths[0], lengths[0] // 50, 3, 5, None, few.codes))
    few(query)
    _, soft = _collisions(lengths, 2, 4, 128, BF16, 10, True, 60 if lengths[0] > 10000 else 4)
    norms = soft.norms
    assert norms is not None
    many = Collisions.of(
        soft.planes, soft.codes, soft.high, soft.lengths, lengths[0] // 50, 3, 5, norms=norms, passes=passes
    )
    many(query)
    buckets = _codes(many)
    for b in range(2):
        for h in range(2):
            assert _lack(few, few.codes, b, h) < int(few.resolution[b, h])
            assert _lack(many, buckets, b, h) < int(many.resolution[b, h])
    for select in (few, many):
        assert not select.misled.any()
        assert (select.resolution > 1).all() or passes > 1


@pytest.mark.parametrize(("parts", "entries"), [(3, 16), (16, 8), (2, 2), (8, 256)])
def test_codes_of_any_number_and_size_are_summed_right(parts: int, entries: int) -> None:
    # Few codes are looked up when needed; of three, sixteen, or codes of large books, distances are kept.
    rng = torch.Generator().manual_seed(3)
    books = torch.randn(2, parts, entries, 16, generator=rng).to(DEVICE)
    codes = torch.randint(entries, (1, 2, 1501, parts), generator=rng).to(torch.uint8).to(DEVICE)
    held = torch.tensor([1501], dtype=torch.int32, device=DEVICE)
    select = Product.of(books, codes, held, 60, sinks=2, window=3, passes=5, chunk=1024)
    select(torch.randn(1, 2, 4, 16 * parts, generator=rng).to(DEVICE))
    assert (select.resolution == 1).all()
    for h in range(2):
        assert _found(select, 0, h) == naive.nearest(_distances(select, select.codes, 0, h), 60, 2, 3)


def test_codes_beyond_a_table_wrap_where_they_are_not_checked() -> None:
    query, select = _product((700,), 1, 2, 64, FP32, own=False, passes=4)
    plain = select(query)[0].clone()
    beyond = dataclasses.replace(select, codes=select.codes + 3 * 16)
    assert torch.equal(beyond(query)[0], plain)


def test_a_selection_that_is_mostly_sinks_and_window_is_not_misled() -> None:
    query, select = _product((2100,), 1, 4, 64, FP32, own=False, passes=1)
    mostly = Product.of(select.codebooks, select.codes, select.lengths, 90, sinks=4, window=64, chunk=1024)
    mostly(query)
    assert int(mostly.misled) == 0
    low, shift = mostly.room.frames[0].tolist()
    distances = _distances(mostly, mostly.codes, 0, 0)
    assert _found(mostly, 0, 0) == naive.nearest(distances, 90, 4, 64, low, shift, BINS)


def test_a_program_takes_so_many_tokens_that_any_capacity_has_room() -> None:
    codes = torch.zeros(1, 1, 600_000, 2, dtype=torch.uint8, device=DEVICE)
    books, held = torch.zeros(1, 2, 4, 8, device=DEVICE), torch.tensor([9], dtype=torch.int32, device=DEVICE)
    assert Product.of(books, codes, held, 5).room.chunk == 8192


def test_the_buckets_of_a_table_are_likely_by_the_side_on_which_a_query_lies() -> None:
    # A key in the query's own bucket of every table scores highest, the one on the other side of every plane lowest.
    query, keys, held = _drawn((700,), 1, 1, 64)
    keys[0, 0, 300], keys[0, 0, 500] = query[0, 0, 0], -query[0, 0, 0]
    normals = torch.randn(8 * 10, 64, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    low, high = collisions.encode(keys, normals, 8)
    select = Collisions.of(normals, low, high, held, 1, sinks=0, passes=2, chunk=1024)
    assert select(query)[0].item() == 300
    most = Collisions.of(normals, low, high, held, 699, sinks=0, passes=2, chunk=1024)
    assert 500 not in most(query)[0][0, 0].tolist()


def test_a_sample_that_misleads_is_told_and_the_next_pass_mends_it() -> None:
    query, select = _product((4096,), 1, 4, 64, FP32, own=False, passes=1)
    gains = naive.product_tables(query, select.codebooks)[0, 0]
    sampled = (torch.arange(4096) % 16 < 8).to(DEVICE)[:, None]
    codes = torch.where(sampled, gains.argmax(-1), gains.argmin(-1)).to(torch.uint8)[None, None]
    codes[0, 0, 8:16] = gains.argsort(-1)[:, 7]  # between, and not seen
    often = Product.of(select.codebooks, codes, select.lengths, 3000, sinks=0, passes=1, chunk=1024)
    ids, counts = often(query)
    assert int(counts) == 3000 == len(set(ids[0, 0].tolist())) and int(often.misled) == 1
    mended = dataclasses.replace(often, passes=2)
    ids, _ = mended(query)
    assert int(mended.misled) == 0 and set(range(8, 16)) <= set(ids[0, 0].tolist())


def test_when_nothing_but_sinks_and_window_is_wanted_they_are_it() -> None:
    query, select = _product((1200,), 1, 2, 64, FP32, own=False, passes=1)
    forced = Product.of(select.codebooks, select.codes, select.lengths, 8, sinks=3, window=5, chunk=1024)
    assert sorted(forced(query)[0][0, 0].tolist()) == [0, 1, 2, *range(1195, 1200)]
    assert int(forced.misled) == 0


def test_bad_input_is_one_clear_error() -> None:
    query, select = _product((100,), 2, 3, 64, FP32, own=False, passes=1)
    books, codes, held = select.codebooks, select.codes, select.lengths
    with pytest.raises(BadInput, match="codes of type uint8, got int32"):
        Product.of(books, codes.int(), held, 10)
    with pytest.raises(BadInput, match="256 centroids, got 12"):
        Product.of(books[:, :, :12].contiguous(), codes, held, 10)
    with pytest.raises(BadInput, match="at least one part, got none"):
        Product.of(books[:, :0].contiguous(), codes[..., :0].contiguous(), held, 10)
    with pytest.raises(BadInput, match="sinks and window among them, got 0 with 4 and 0"):
        Product.of(books, codes, held, 0)
    with pytest.raises(BadInput, match="codes to be contiguous"):
        Product.of(books, codes.mT.contiguous().mT, held, 10)
    with pytest.raises(BadInput, match="query of type float32, got float16"):
        select(query.half())
    with pytest.raises(BadInput, match="codes of 0 to 15, got 31"):
        Product.of(books, codes + 16, held, 10)(query, checked=True)
    with pytest.raises(BadInput, match="at least one pass"):
        Product.of(books, codes, held, 10, passes=0)

    query, soft = _collisions((100,), 2, 3, 64, FP32, 10, True)
    with pytest.raises(BadInput, match="high bits where a table has more than 8 planes, and there alone; it has 10"):
        Collisions.of(soft.planes, soft.codes, None, held, 10)
    with pytest.raises(BadInput, match="1 to 10 planes for each of 4 tables, got 35 planes"):
        Collisions.of(soft.planes[:35], soft.codes, soft.high, held, 10)
    with pytest.raises(BadInput, match="at least one table, got none"):
        Collisions.of(soft.planes, soft.codes[:, :, :0].contiguous(), None, held, 10)
    with pytest.raises(BadInput, match="temperature above 0"):
        Collisions.of(soft.planes, soft.codes, soft.high, held, 10, tau=0.0)
    assert soft.norms is not None
    negative = dataclasses.replace(soft, norms=-soft.norms)
    with pytest.raises(BadInput, match="not negative"):
        negative(query, checked=True)
    with pytest.raises(BadInput, match="query of shape"):
        soft(query[..., :32].contiguous())
    with pytest.raises(BadInput, match="at least one query head"):
        soft(query[:, :, :0])
    with pytest.raises(BadInput, match="lengths of 1 to 100 tokens, got 101 to 101"):
        dataclasses.replace(soft, lengths=held + 1)(query, checked=True)
