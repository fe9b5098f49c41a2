# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Two kernels that score tokens by the bits in which they differ from a group's: prepare and tally; emit is shared.

How often key bit i differs from the group's bits is linear in the key: with c_i of G query heads at 1, it is
sum_i c_i + sum_i k_i (G - 2 c_i). Flipping the key where G < 2 c_i makes all weights positive, and as weights are small
integers the sum is one count of bits for each of their binary digits: two for G = 4, not four.

The threshold is found without a histogram of everything. It is estimated from a sample of tokens, and all tokens are
sorted into eight bins around that (`threshold_kernel`): below, six exact values, above. Tallies of the bins then tell
where the threshold really lies; unless the sample was off by four values or more, the answer is exactly the top.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import INTERPRETED, add_four, popcount, sampled

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
def differing(codes, masks, DIGITS: tl.constexpr):
    """How far codes differ from a group's bits, less a constant; halved where the group is even, as all are even."""
    flipped = codes ^ tl.load(masks)
    total = popcount(flipped & tl.load(masks + 1))
    for digit in tl.static_range(1, DIGITS):
        total += popcount(flipped & tl.load(masks + 1 + digit)) << digit
    return total


@triton.jit
def prepare(
    query,
    planes,
    codes,
    lengths,
    masks,
    frames,
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
    OVERLAP: tl.constexpr,
):
    """Masks int32 [units, 1 + DIGITS]: what to flip, and the bits of each binary digit; and the frame."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    length = tl.load(lengths + unit // UNITS)
    place = sampled(tl.arange(0, SAMPLE), length, SAMPLE)
    # Of those that are not chosen anyway.
    there = (place >= sinks) & (place < length - window)
    seen = tl.load(codes + unit.to(tl.int64) * capacity + place, there, 0)

    bit = tl.arange(0, 32)
    one = tl.full((32,), 1, tl.int32) << bit
    tilt = GROUP - 2 * group_bits(query, planes, unit, unit % UNITS, GROUP, GROUP_PADDED, WIDTH, WIDTH_PADDED)
    weight = tl.abs(tilt)
    if GROUP % 2 == 0:
        weight = weight // 2
    masks += unit * (1 + DIGITS)
    flip = tl.sum(tl.where(tilt < 0, one, 0), axis=0)
    tl.store(masks, flip)
    total = tl.zeros((SAMPLE,), tl.int32)
    for digit in tl.static_range(DIGITS):
        mask = tl.sum(tl.where(((weight >> digit) & 1) == 1, one, 0), axis=0)
        tl.store(masks + 1 + digit, mask)
        total += popcount((seen ^ flip) & mask) << digit
    known = tl.where(there, total, LEVELS - 1)
    drawn = tl.sum(there.to(tl.int64), axis=0)
    free = tl.maximum(length - sinks - window, 1)
    goal = ((wanted - sinks - window) * drawn + free - 1) // free
    guess = tl.sum((tl.cumsum(tl.histogram(known, LEVELS), axis=0) < goal).to(tl.int32), axis=0)
    tl.store(frames + 2 * unit, guess - BELOW)
    tl.store(frames + 2 * unit + 1, 0)


@triton.jit
def tally(
    codes,
    lengths,
    masks,
    frames,
    bins,
    tallies,
    capacity,
    sinks,
    window,
    UNITS: tl.constexpr,
    DIGITS: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Bins int8 [units, CHUNKS * CHUNK] of a chunk's tokens, 8 where there is none, and how many each bin holds."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    first = chunk * CHUNK
    at = first + tl.arange(0, CHUNK)
    mine = tl.load(codes + unit.to(tl.int64) * capacity + at, at < capacity, 0)
    length = tl.load(lengths + unit // UNITS)
    offset = 1 - tl.load(frames + 2 * unit)
    bin_of = tl.minimum(tl.maximum(differing(mine, masks + unit * (1 + DIGITS), DIGITS) + offset, 0), 7)
    ones = tl.full((CHUNK,), 1, tl.int32) << (4 * bin_of)
    if (first < sinks) | (first + CHUNK > length - window):
        bin_of = tl.where((at < sinks) | (at >= length - window), 0, bin_of)
        bin_of = tl.where(at < length, bin_of, 8)
        ones = tl.where(at < length, tl.full((CHUNK,), 1, tl.int32) << (4 * tl.minimum(bin_of, 7)), 0)
    tl.store(bins + unit.to(tl.int64) * (CHUNKS * CHUNK) + at, bin_of.to(tl.int8))

    # Eight counters of four bits for four tokens, then of sixteen bits for all.
    fours = tl.sum(tl.reshape(ones, (CHUNK // 4, 4)), axis=1)
    zero = fours & 0x000F000F
    one = (fours >> 4) & 0x000F000F
    two = (fours >> 8) & 0x000F000F
    three = (fours >> 12) & 0x000F000F
    sums = tl.reduce((zero, one, two, three), 0, add_four)
    tallies += unit * (8 * CHUNKS) + chunk
    for pair in tl.static_range(4):
        tl.store(tallies + pair * CHUNKS, sums[pair] & 0xFFFF)
        tl.store(tallies + (pair + 4) * CHUNKS, sums[pair] >> 16)
