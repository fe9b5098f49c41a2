# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Three kernels that sample what a predictor left out: mark, draw, place.

Every token of every unit has one random number of 32 bits, a function of (seed, unit, token) that is computed where it
is needed and stored nowhere. What is drawn are the tokens of the residual whose number lies in [from, to): the pilot's
interval begins at 0, the sample's where the pilot's ends.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import popcount

STRETCH = tl.constexpr(128)
"""Tokens of 32 counters of four numbers each: token 128 c + 32 j + i has the j-th number of counter 32 c + i."""


@triton.jit
def mark(
    chosen,
    chosen_counts,
    marks,
    ids,
    log_prob,
    wanted,
    room,
    words,
    BLOCK: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Set the bit of each chosen token in marks int32 [units, words], and copy it to the list that is attended to."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = at < tl.load(chosen_counts + unit)
    token = tl.load(chosen + unit.to(tl.int64) * wanted + at, live, 0)
    bit = tl.full((BLOCK,), 1, tl.int32) << (token % 32)
    known = live & (token >= 0) & (token < words * 32)
    tl.atomic_or(marks + unit.to(tl.int64) * words + token // 32, bit, known, sem="relaxed")
    to = unit.to(tl.int64) * room + at
    tl.store(ids + to, token, live)
    tl.store(log_prob + to, tl.zeros((BLOCK,), tl.float32), live)


@triton.jit
def first_interval(length, fixed, share, least):
    """Where the pilot's numbers end: so that a share (in 65536ths) of the residual is drawn, but `least` tokens."""
    left = (length - fixed).to(tl.int64)
    wanted = tl.maximum((left * share) >> 16, least)
    return tl.where(wanted < left, (wanted << 32) // tl.maximum(left, 1), tl.full((), 1 << 32, tl.int64))


@triton.jit
def draw(
    seed,
    marks,
    lengths,
    chosen_counts,
    ends,
    drawn,
    tallies,
    words,
    share,
    least,
    UNITS: tl.constexpr,
    PILOT: tl.constexpr,
    STRETCHES: tl.constexpr,
    CHUNKS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Bits of the tokens drawn, drawn int32 [units, words], and how many a chunk has, tallies int32 [units, CHUNKS].

    PILOT: ends int64 [units, 2] of the intervals are not yet known; the first is computed and written here. Otherwise
    marks are cleared for the next call.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    length = tl.load(lengths + unit // UNITS)
    if PILOT:
        start = tl.zeros((), tl.int64)
        end = first_interval(length, tl.load(chosen_counts + unit), share, least)
        if chunk == 0:
            tl.store(ends + 2 * unit, end)
    else:
        start = tl.load(ends + 2 * unit)
        end = tl.load(ends + 2 * unit + 1)

    stretch = chunk * STRETCHES + tl.arange(0, STRETCHES)
    spot = tl.arange(0, 32)
    counter = stretch[:, None] * 32 + spot[None, :]
    zero = counter * 0
    numbers = tl.philox(tl.load(seed), counter, zero + unit, zero, zero)
    count = tl.zeros((STRETCHES,), tl.int32)
    for quarter in tl.static_range(4):
        number = numbers[quarter].to(tl.int64)
        token = stretch[:, None] * STRETCH + quarter * 32 + spot[None, :]
        hit = (number >= start) & (number < end) & (token < length)
        word = tl.sum(tl.where(hit, tl.full(token.shape, 1, tl.int32) << spot[None, :], 0), axis=1)
        at = stretch * 4 + quarter
        here = at < words
        marked = marks + unit.to(tl.int64) * words + at
        word = word & ~tl.load(marked, here, -1)
        tl.store(drawn + unit.to(tl.int64) * words + at, word, here)
        if not PILOT:
            tl.store(marked, tl.zeros((STRETCHES,), tl.int32), here)
        count += popcount(word)
    tl.store(tallies + unit * CHUNKS + chunk, tl.sum(count, axis=0))


@triton.jit
def place(
    drawn,
    tallies,
    chosen_counts,
    pilot_counts,
    lengths,
    ids,
    log_prob,
    counts,
    short,
    room,
    words,
    UNITS: tl.constexpr,
    PILOT: tl.constexpr,
    WORDS: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNKS_PADDED: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Write a chunk's drawn tokens behind what the list has, in order, and the logarithm of their probability.

    PILOT: they are kept for sure, and their number goes to pilot_counts. Otherwise their probability is their number ÷
    what the pilot left, and counts int32 [units] gets the length of the list; short 1 where it does not hold them all.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    every = tl.arange(0, CHUNKS_PADDED)
    held = tl.load(tallies + unit * CHUNKS + every, every < CHUNKS, 0)
    total = tl.sum(held, axis=0)
    begin = tl.load(chosen_counts + unit)
    weight = tl.zeros((), tl.float32)
    if not PILOT:
        begin += tl.load(pilot_counts + unit)
        left = tl.load(lengths + unit // UNITS) - begin
        weight = tl.log(tl.maximum(total, 1).to(tl.float32) / tl.maximum(left, 1).to(tl.float32))
    at = chunk * WORDS + tl.arange(0, WORDS)
    here = at < words
    bits = tl.load(drawn + unit.to(tl.int64) * words + at, here, 0)
    numbers = popcount(bits)
    to = begin + tl.sum(tl.where(every < chunk, held, 0), axis=0) + tl.cumsum(numbers, axis=0) - numbers
    ids += unit.to(tl.int64) * room
    log_prob += unit.to(tl.int64) * room
    for _ in range(tl.max(numbers, axis=0)):
        live = (bits != 0) & (to < room)
        tl.store(ids + to, at * 32 + popcount((bits & -bits) - 1), live)
        tl.store(log_prob + to, tl.zeros((WORDS,), tl.float32) + weight, live)
        bits = bits & (bits - 1)
        to += 1
    if chunk == 0:
        if PILOT:
            tl.store(pilot_counts + unit, tl.minimum(total, room - begin))
        else:
            tl.store(counts + unit, tl.minimum(begin + total, room))
            if begin + total > room:
                tl.store(short + unit, 1)
