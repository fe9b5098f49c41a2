"""Reads are counted once per step, in sectors, and bounded in rounds."""

import numpy as np
import pytest

from vevolve.evaluators.sparse_decode.meter import MAX_ROUNDS, SECTOR, Index, Meter
from vevolve.types import CandidateFault

H, N, D = 3, 50, 64
DRAW = np.random.default_rng(0)
KEYS = DRAW.standard_normal((H, N, D), dtype=np.float32)
VALUES = DRAW.standard_normal((H, N, D), dtype=np.float32)
NOTHING = np.zeros((H, 40), dtype=bool)


def meter(index=None, n=40):
    return Meter(KEYS, VALUES, index or Index(), n)


def test_reads_return_what_was_asked_for_and_zeros_at_pads():
    ids = DRAW.integers(-1, 40, (H, 12))
    ids[0, 0] = -1
    for got, store in ((meter().read_keys(ids), KEYS), (meter().read_values(ids), VALUES)):
        for head in range(H):
            for place, token in enumerate(ids[head]):
                expected = np.zeros(D) if token < 0 else store[head, token]
                assert np.array_equal(got[head, place], expected)


@pytest.mark.parametrize("seed", range(5))
def test_traffic_equals_a_brute_force_set_of_sectors(seed):
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 255, (H, 40, 12)).astype(np.uint8)
    shared = draw.standard_normal((7, 5)).astype(np.float16)
    whole = draw.standard_normal((H, 3, D)).astype(np.float32)
    one = meter(Index({"codes": codes, "shared": shared, "whole": whole}, header_bytes=77))
    touched: set[tuple[str, int]] = set()
    for _ in range(2):
        for name, read in (("k", one.read_keys), ("v", one.read_values)):
            ids = draw.integers(-1, 40, (H, 9))
            read(ids)
            touched |= {
                (name, (head * 40 + token) * 128 + at)
                for head in range(H)
                for token in ids[head]
                if token >= 0
                for at in range(0, 128, SECTOR)
            }
    rows = draw.integers(-1, 40, (H, 6))
    got = one.read_rows("codes", rows)
    touched |= {
        ("codes", ((head * 40 + row) * 12 + byte) // SECTOR)
        for head in range(H)
        for row in rows[head]
        if row >= 0
        for byte in range(12)
    }
    flat = np.array([6, -1, 2])
    plain = one.read_rows("shared", flat)
    touched |= {("shared", (row * 10 + byte) // SECTOR) for row in (6, 2) for byte in range(10)}
    one.read_tensor("whole")
    touched |= {("whole", at) for at in range(H * 3 * D * 4 // SECTOR)}
    chosen = draw.random((H, 40)) < 0.2
    touched |= {
        (name, (head * 40 + token) * 128 + at)
        for head, token in np.argwhere(chosen)
        for at in range(0, 128, SECTOR)
        for name in "kv"
    }
    traffic = one.account(chosen, tail_elements=20)
    assert traffic.total == SECTOR * len(touched) + 96 + 64  # 77 header bytes and 40 tail bytes, in whole sectors
    assert traffic.total == traffic.index + traffic.reads + traffic.gather + traffic.tail
    assert traffic.gather == 256 * chosen.sum()
    assert traffic.dense == 2 * H * 40 * D * 2
    assert np.array_equal(plain, np.where(flat[:, None] >= 0, shared[flat], 0))
    assert all(
        np.array_equal(got[h, i], codes[h, r] if r >= 0 else 0 * codes[h, 0]) for (h, i), r in np.ndenumerate(rows)
    )


def test_what_is_read_twice_or_read_and_attended_is_charged_once():
    one, two = meter(), meter()
    ids = np.tile(np.arange(10), (H, 1))
    one.read_keys(ids)
    for _ in range(3):
        two.read_keys(ids)
    assert one.account(NOTHING, 0).total == two.account(NOTHING, 0).total == H * 10 * 128
    chosen = NOTHING.copy()
    chosen[:, :10] = True
    assert one.account(chosen, 0).total == H * 10 * 256


def test_pads_and_untouched_tensors_are_free_but_headers_are_not():
    one = meter(Index({"big": np.ones(4096, np.float32)}, header_bytes=33))
    one.read_keys(np.full((H, 8), -1))
    assert one.account(NOTHING, 0).total == 64


def test_a_row_costs_the_sectors_that_it_touches():
    one = meter(Index({"codes": np.zeros((H, 40, 4), np.uint8)}))
    one.read_rows("codes", np.array([[0], [8], [16]]))
    assert one.account(NOTHING, 0).index == 3 * SECTOR


def test_vectors_are_counted_in_whole_sectors():
    narrow = Meter(KEYS[:, :, :5].copy(), VALUES[:, :, :5].copy(), Index(), 40)
    narrow.read_keys(np.zeros((H, 1), np.int64))
    assert narrow.account(NOTHING, 0).total == H * SECTOR


BAD_IDS = {
    "the next token": np.full((H, 1), 40),
    "far beyond": np.full((H, 1), 2**62),
    "unsigned beyond": np.full((H, 1), 2**64 - 1, np.uint64),
    "below -1": np.full((H, 1), -2),
    "wrong heads": np.zeros((H + 1, 1), np.int64),
    "one dimension": np.zeros(4, np.int64),
    "three dimensions": np.zeros((H, 1, 1), np.int64),
    "floats": np.zeros((H, 1)),
    "bools": np.zeros((H, 1), bool),
    "a word": "keys",
    "a number": 3,
    "a flood": np.zeros((H, 161), np.int64),
}


@pytest.mark.parametrize("name", BAD_IDS)
def test_ids_that_break_the_rules_are_the_candidates_fault(name):
    one = meter(Index({"rows": np.zeros((H, 40, 4), np.float32)}))
    for read in (one.read_keys, one.read_values, lambda ids: one.read_rows("rows", ids)):
        if name == "one dimension" and read not in (one.read_keys, one.read_values):
            continue  # rows of a tensor [R, ...]
        with pytest.raises(CandidateFault) as caught:
            read(BAD_IDS[name])
        assert caught.value.status == "wrong"


@pytest.mark.parametrize("name", ["missing", "", 3, np.zeros(2, np.int64)])
def test_a_tensor_that_is_not_there_is_the_candidates_fault(name):
    one = meter(Index({"there": np.ones(3)}))
    with pytest.raises(CandidateFault, match="there"):
        one.read_tensor(name)


def test_rows_by_head_need_a_tensor_by_head():
    one = meter(Index({"flat": np.ones(30), "other": np.ones((H + 1, 4, 2))}))
    for name in ("flat", "other"):
        with pytest.raises(CandidateFault, match=r"\[H, rows, \.\.\.\]"):
            one.read_rows(name, np.zeros((H, 1), np.int64))


def test_reads_that_can_be_issued_together_are_one_round():
    ids = np.zeros((H, 2), np.int64)
    one = meter(Index({"a": np.ones(3), "b": np.ones(3)}))
    one.read_tensor("a")
    one.read_tensor("b")
    assert one.rounds == 1
    one.read_keys(ids)
    one.read_values(ids)
    assert one.rounds == 2
    one.read_values(ids + 1)
    assert one.rounds == 3
    one.read_rows("a", np.array([0]))
    one.read_rows("a", np.array([0]))
    assert one.rounds == 5


def test_the_ninth_round_is_refused():
    one = meter()
    for step in range(MAX_ROUNDS):
        one.read_keys(np.full((H, 1), step))
    with pytest.raises(CandidateFault, match="8 dependent read rounds"):
        one.read_keys(np.full((H, 1), 20))


def test_the_digest_tells_requests_apart_but_not_their_integer_type():
    def after(*reads):
        one = meter()
        for read, ids in reads:
            getattr(one, read)(ids)
        return one.digest

    ids = np.arange(H * 2).reshape(H, 2)
    assert after(("read_keys", ids)) == after(("read_keys", ids.astype(np.int32)))
    different = [
        after(),
        after(("read_keys", ids)),
        after(("read_values", ids)),
        after(("read_keys", ids + 1)),
        after(("read_keys", ids), ("read_keys", ids)),
        after(("read_keys", ids), ("read_values", ids)),
        after(("read_values", ids), ("read_keys", ids)),
    ]
    assert len(set(different)) == len(different)


# ------------------------------------------------------------------------------------------------------ projection


def test_attending_to_a_fixed_number_of_tokens_shrinks_with_the_context():
    chosen = NOTHING.copy()
    chosen[:, :8] = True
    traffic = meter().account(chosen, 0)
    assert traffic.share == pytest.approx(8 / 40)
    assert traffic.projected(40) == pytest.approx(traffic.share)
    assert traffic.projected(400) == pytest.approx(8 / 400)


def test_scanning_all_keys_costs_half_of_dense_at_every_context():
    one = meter()
    one.read_keys(np.tile(np.arange(40), (H, 1)))
    chosen = NOTHING.copy()
    chosen[:, :8] = True
    traffic = one.account(chosen, 0)
    assert traffic.share == pytest.approx(0.5 + 4 / 40)
    assert traffic.projected(40_000) == pytest.approx(0.5 + 4 / 40_000)


def test_an_index_grows_by_the_share_that_was_measured():
    tensors = {"codes": np.zeros((H, 40, 64), np.uint8), "book": np.zeros((64, 32), np.float32)}
    one = meter(Index(tensors, growth={"codes": 1.0, "book": 0.0}))
    one.read_tensor("codes")
    one.read_tensor("book")
    traffic = one.account(NOTHING, 0)
    growing, fixed = H * 40 * 64, 64 * 32 * 4
    assert traffic.index == growing + fixed
    assert traffic.projected(4000) == pytest.approx((100 * growing + fixed) / (100 * traffic.dense))


def test_selective_rows_of_an_index_stay_as_many():
    one = meter(Index({"codes": np.zeros((H, 40, 64), np.uint8)}))
    one.read_rows("codes", np.tile(np.arange(4), (H, 1)))
    assert one.account(NOTHING, 0).projected(4000) == pytest.approx(H * 4 * 64 / (100 * 2 * H * 40 * D * 2))
