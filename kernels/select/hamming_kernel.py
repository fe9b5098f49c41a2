# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Two kernels that pick the tokens whose 32 bits differ least from a group's: tally, then emit.

How often key bit i differs from the group's bits is linear in the key: with c_i of G query heads at 1, it is
sum_i c_i + sum_i k_i (G - 2 c_i). Flipping the key where G < 2 c_i makes all weights positive, and as weights are small
integers the sum is one count of bits for each of their binary digits: two for G = 4, not four.

The threshold is found without a histogram of everything. Each program estimates it from the same sample of tokens and
sorts its own into eight bins around that: below, six exact values, above. The tallies of all programs then tell where
the threshold really lies; unless the sample was off by four values or more, the answer is exactly the top.
"""

import triton
import triton.language as tl

BELOW = tl.constexpr(4)
"""The bin of the estimated threshold itself."""
RUN = tl.constexpr(8)
"""Tokens that the sample takes in one place: what 32 bytes hold."""


@triton.jit
def popcount(bits):
    """Bits that are set. The compiler makes one instruction of it."""
    x = bits.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def group_bits(query, planes, unit, head, GROUP: tl.constexpr, WIDTH: tl.constexpr, WIDTH_PADDED: tl.constexpr):
    """How many of the group's heads lie on the positive side of each of 32 planes [H, d, 32]: int32 [32]."""
    bit = tl.arange(0, 32)
    column = tl.arange(0, WIDTH_PADDED)
    inside = column < WIDTH
    normal = tl.load(planes + (head * WIDTH + column[:, None]) * 32 + bit[None, :], inside[:, None], 0.0).to(tl.float32)
    count = tl.zeros((32,), tl.int32)
    for g in tl.static_range(GROUP):
        q = tl.load(query + (unit * GROUP + g) * WIDTH + column, inside, 0.0).to(tl.float32)
        count += (tl.sum(q[:, None] * normal, axis=0) > 0).to(tl.int32)
    return count


@triton.jit
def differing(codes, count, GROUP: tl.constexpr, DIGITS: tl.constexpr):
    """How far codes differ from a group's bits, less a constant; halved where the group is even, as all are even."""
    bit = tl.arange(0, 32)
    one = tl.full((32,), 1, tl.int32) << bit
    tilt = GROUP - 2 * count
    flipped = codes ^ tl.sum(tl.where(tilt < 0, one, 0), axis=0)
    weight = tl.abs(tilt)
    if GROUP % 2 == 0:
        weight = weight // 2
    total = tl.zeros(codes.shape, tl.int32)
    for digit in tl.static_range(DIGITS):
        mask = tl.sum(tl.where(((weight >> digit) & 1) == 1, one, 0), axis=0)
        total += popcount(flipped & mask) << digit
    return total


@triton.jit
def tally(
    query,
    planes,
    codes,
    lengths,
    bins,
    tallies,
    guesses,
    capacity,
    wanted,
    sinks,
    window,
    UNITS: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    DIGITS: tl.constexpr,
    LEVELS: tl.constexpr,
    SAMPLE: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Bins int8 [units, CHUNKS * CHUNK] of a chunk's tokens, 8 where there is none, and how many each bin holds."""
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    length = tl.load(lengths + unit // UNITS)
    at = chunk * CHUNK + tl.arange(0, CHUNK)
    codes += unit.to(tl.int64) * capacity
    mine = tl.load(codes + at, at < length, 0)

    spot = tl.arange(0, SAMPLE)
    apart = tl.maximum(length // (SAMPLE // RUN) // RUN * RUN, RUN)
    place = spot // RUN * apart + spot % RUN
    seen = tl.load(codes + place, place < length, 0)

    count = group_bits(query, planes, unit, unit % UNITS, GROUP, WIDTH, WIDTH_PADDED)
    known = tl.where(place < length, differing(seen, count, GROUP, DIGITS), LEVELS - 1)
    drawn = tl.minimum(tl.sum((place < length).to(tl.int32), axis=0), length)
    goal = (wanted.to(tl.int64) * drawn + length - 1) // length
    guess = tl.sum((tl.cumsum(tl.histogram(known, LEVELS), axis=0) < goal).to(tl.int32), axis=0)

    bin_of = tl.minimum(tl.maximum(differing(mine, count, GROUP, DIGITS) - guess + BELOW, 0), 7)
    forced = (at < sinks) | (at >= length - window)
    bin_of = tl.where(forced, 0, bin_of)
    bin_of = tl.where(at < length, bin_of, 8)
    tl.store(bins + unit.to(tl.int64) * (CHUNKS * CHUNK) + at, bin_of.to(tl.int8))

    # Eight counters of four bits for eight tokens, then of sixteen bits for all.
    ones = tl.where(bin_of < 8, tl.full((CHUNK,), 1, tl.int32) << (4 * bin_of), 0)
    eights = tl.sum(tl.reshape(ones, (CHUNK // 8, 8)), axis=1)
    tallies += unit * (8 * CHUNKS) + chunk
    for pair in tl.static_range(4):
        both = tl.sum((eights >> (4 * pair)) & 0x000F000F, axis=0)
        tl.store(tallies + pair * CHUNKS, both & 0xFFFF)
        tl.store(tallies + (pair + 4) * CHUNKS, both >> 16)
    if chunk == 0:
        tl.store(guesses + unit, guess)


@triton.jit
def emit(
    bins,
    tallies,
    guesses,
    lengths,
    ids,
    counts,
    thresholds,
    misled,
    wanted,
    UNITS: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNKS_PADDED: tl.constexpr,
):
    """Write a chunk's chosen tokens where they belong: those below the threshold in order, then those at it."""
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    at = chunk * CHUNK + tl.arange(0, CHUNK)
    bin_of = tl.load(bins + unit.to(tl.int64) * (CHUNKS * CHUNK) + at).to(tl.int32)
    length = tl.load(lengths + unit // UNITS)
    goal = tl.minimum(wanted, length)

    every = tl.arange(0, CHUNKS_PADDED)
    cut = 0
    below = 0
    before = 0
    ties_before = 0
    so_far = 0
    so_far_before = 0
    for level in tl.static_range(8):
        held = tl.load(tallies + (unit * 8 + level) * CHUNKS + every, every < CHUNKS, 0)
        total = tl.sum(held, axis=0)
        earlier = tl.sum(tl.where(every < chunk, held, 0), axis=0)
        here = (so_far < goal) & (so_far + total >= goal)
        cut = tl.where(here, level, cut)
        below = tl.where(here, so_far, below)
        before = tl.where(here, so_far_before, before)
        ties_before = tl.where(here, earlier, ties_before)
        so_far += total
        so_far_before += earlier

    ranks = tl.cumsum((bin_of < cut).to(tl.int32) + ((bin_of == cut).to(tl.int32) << 16), axis=0)
    place = tl.where(bin_of < cut, before + (ranks & 0xFFFF), below + ties_before + (ranks >> 16)) - 1
    chosen = (bin_of < cut) | ((bin_of == cut) & (place < goal))
    tl.store(ids + unit.to(tl.int64) * wanted + place, at, chosen)
    if chunk == 0:
        tl.store(counts + unit, goal)
        tl.store(thresholds + unit, tl.load(guesses + unit) + cut - BELOW)
        tl.store(misled + unit, (((cut == 0) | (cut == 7)) & (goal < length)).to(tl.int32))
