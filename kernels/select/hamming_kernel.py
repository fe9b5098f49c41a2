# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""One kernel that scores tokens by the bits in which they differ from a group's and chooses the best.

How often key bit i differs from the group's bits is linear in the key: with c_i of G query heads at 1, it is
sum_i c_i + sum_i k_i (G - 2 c_i). Flipping the key where G < 2 c_i makes all weights positive, and as weights are small
integers the sum is one count of bits for each of their binary digits: two for G = 4, not four.

The threshold is found without a histogram of everything. It is estimated from a sample of tokens, by every program for
itself, and all tokens are sorted into eight bins around that (`threshold_kernel`): below, six exact values, above.
Tallies of the bins then tell where the threshold really lies; unless the sample was off by four values or more, the
answer is exactly the top.

Programs of a unit need each other's tallies. Where all programs of a launch run at the same time they wait for each
other in the middle, which takes as long as one more read of memory; else counting and emitting are two launches.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import INTERPRETED, binned, emit_chunk, popcount, sampled

BELOW = tl.constexpr(3)
"""Exact values below the estimated threshold."""


@triton.jit
def group_bits(
    query,
    planes,
    unit,
    head,
    GROUP: tl.constexpr,
    GROUP_PADDED: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
):
    """How many of the group's heads lie on the positive side of each of 32 planes [H, d, 32]: int32 [32]."""
    bit = tl.arange(0, 32)
    column = tl.arange(0, WIDTH_PADDED)
    row = tl.arange(0, GROUP_PADDED)
    inside = column < WIDTH
    normal = tl.load(planes + (head * WIDTH + column[:, None]) * 32 + bit[None, :], inside[:, None], 0.0)
    at = (unit * GROUP + row[:, None]) * WIDTH + column[None, :]
    q = tl.load(query + at, (row[:, None] < GROUP) & inside[None, :], 0.0)
    if INTERPRETED:
        q = q.to(tl.float32)
        normal = normal.to(tl.float32)
    return tl.sum((tl.dot(q, normal, input_precision="ieee") > 0).to(tl.int32), axis=0)


@triton.jit
def masks_of(positive, GROUP: tl.constexpr):
    """From how many of a group are positive, int32 [32]: the bits to flip, and the weight of each."""
    tilt = GROUP - 2 * positive
    one = tl.full((32,), 1, tl.int32) << tl.arange(0, 32)
    weight = tl.abs(tilt)
    if GROUP % 2 == 0:
        weight = weight // 2
    return tl.sum(tl.where(tilt < 0, one, 0), axis=0), weight


@triton.jit
def differing(codes, flip, digits, DIGITS: tl.constexpr):
    """How far codes differ from a group's bits, less a constant; halved where the group is even, as all are even."""
    flipped = codes ^ flip
    total = popcount(flipped & digits[0])
    for digit in tl.static_range(1, DIGITS):
        total += popcount(flipped & digits[digit]) << digit
    return total


@triton.jit
def guessed(codes, flip, digits, length, wanted, DIGITS: tl.constexpr, LEVELS: tl.constexpr, SAMPLE: tl.constexpr):
    """The threshold by a sample of a unit's codes."""
    place = sampled(length, SAMPLE)
    there = place < length
    total = differing(tl.load(codes + place, there, 0), flip, digits, DIGITS)
    known = tl.where(there, total, LEVELS - 1)
    drawn = tl.sum(there.to(tl.int32), axis=0)
    goal = (wanted.to(tl.int64) * drawn + length - 1) // length
    return tl.sum((tl.cumsum(tl.histogram(known, LEVELS), axis=0) < goal).to(tl.int32), axis=0)


@triton.jit
def add_all(a, b, c, d, e, f, g, h):
    """Four sums at a time."""
    return a + e, b + f, c + g, d + h


@triton.jit
def count(
    codes,
    bins,
    tallies,
    flip,
    digits,
    offset,
    unit,
    chunk,
    length,
    capacity,
    sinks,
    window,
    DIGITS: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Bins int8 [units, CHUNKS * CHUNK] of a chunk's tokens, 8 where there is none, and how many each bin holds."""
    first = chunk * CHUNK
    bins += unit.to(tl.int64) * (CHUNKS * CHUNK)
    # Counters of sixteen bits, of bins 0 and 4, 1 and 5, 2 and 6, 3 and 7.
    a = tl.zeros((BLOCK // 4,), tl.int32)
    b = tl.zeros((BLOCK // 4,), tl.int32)
    c = tl.zeros((BLOCK // 4,), tl.int32)
    d = tl.zeros((BLOCK // 4,), tl.int32)
    for start in tl.range(first, first + CHUNK, BLOCK, num_stages=STAGES):
        at = start + tl.arange(0, BLOCK)
        mine = tl.load(codes + at, at < capacity, 0)
        bin_of = tl.minimum(tl.maximum(differing(mine, flip, digits, DIGITS) + offset, 0), 7)
        ones = tl.full((BLOCK,), 1, tl.int32) << (4 * bin_of)
        if (start < sinks) | (start + BLOCK > length - window):
            bin_of = tl.where((at < sinks) | (at >= length - window), 0, bin_of)
            bin_of = tl.where(at < length, bin_of, 8)
            ones = tl.where(at < length, tl.full((BLOCK,), 1, tl.int32) << (4 * tl.minimum(bin_of, 7)), 0)
        tl.store(bins + at, bin_of.to(tl.int8))
        fours = tl.sum(tl.reshape(ones, (BLOCK // 4, 4)), axis=1)
        a += fours & 0x000F000F
        b += (fours >> 4) & 0x000F000F
        c += (fours >> 8) & 0x000F000F
        d += (fours >> 12) & 0x000F000F
    sums = tl.reduce((a, b, c, d), 0, add_all)
    tallies += unit * (8 * CHUNKS) + chunk
    for pair in tl.static_range(4):
        tl.store(tallies + pair * CHUNKS, sums[pair] & 0xFFFF)
        tl.store(tallies + (pair + 4) * CHUNKS, (sums[pair] >> 16) & 0xFFFF)


@triton.jit
def meet(arrivals, unit, CHUNKS: tl.constexpr):
    """Wait until all programs of a unit have come here. They must all be running; arrivals int64 only ever grows."""
    tl.debug_barrier()
    before = tl.atomic_add(arrivals + unit, 1, sem="acq_rel")
    goal = (before // CHUNKS + 1) * CHUNKS
    seen = before + 1
    while seen < goal:
        seen = tl.atomic_add(arrivals + unit, 0, sem="acquire")
    tl.debug_barrier()


@triton.jit
def choose(
    query,
    planes,
    codes,
    lengths,
    frames,
    bins,
    tallies,
    arrivals,
    ids,
    counts,
    thresholds,
    misled,
    capacity,
    wanted,
    sinks,
    window,
    UNITS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_PADDED: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    DIGITS: tl.constexpr,
    LEVELS: tl.constexpr,
    SAMPLE: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNKS_PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    COUNT: tl.constexpr,
    EMIT: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Choose for one unit in one chunk: COUNT, then EMIT, which needs the counts of all chunks."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    length = tl.load(lengths + unit // UNITS)
    if COUNT:
        codes += unit.to(tl.int64) * capacity
        positive = group_bits(query, planes, unit, unit % UNITS, GROUP, GROUP_PADDED, WIDTH, WIDTH_PADDED)
        flip, weight = masks_of(positive, GROUP)
        one = tl.full((32,), 1, tl.int32) << tl.arange(0, 32)
        digits = ()
        for digit in tl.static_range(DIGITS):
            mask = tl.sum(tl.where(((weight >> digit) & 1) == 1, one, 0), axis=0)
            digits = digits + (mask,)  # noqa: RUF005 (Triton knows no starred tuples)
        guess = guessed(codes, flip, digits, length, wanted, DIGITS, LEVELS, SAMPLE)
        if chunk == 0:
            tl.store(frames + 2 * unit, guess - BELOW)
            tl.store(frames + 2 * unit + 1, 0)
        count(
            codes,
            bins,
            tallies,
            flip,
            digits,
            BELOW + 1 - guess,
            unit,
            chunk,
            length,
            capacity,
            sinks,
            window,
            DIGITS,
            CHUNK,
            CHUNKS,
            BLOCK,
            STAGES,
        )
    if EMIT:
        if COUNT:
            tl.debug_barrier()
        fours = binned(bins.to(tl.pointer_type(tl.int32), bitcast=True), unit, chunk, CHUNK, CHUNKS)
        if COUNT:
            meet(arrivals, unit, CHUNKS)
        emit_chunk(
            fours,
            tallies,
            frames,
            ids,
            counts,
            thresholds,
            misled,
            unit,
            chunk,
            length,
            wanted,
            CHUNK,
            CHUNKS,
            CHUNKS_PADDED,
            8,
        )
