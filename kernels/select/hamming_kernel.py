# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Three kernels that pick the tokens whose 32 bits differ least from a group's: prepare, tally, emit.

How often key bit i differs from the group's bits is linear in the key: with c_i of G query heads at 1, it is
sum_i c_i + sum_i k_i (G - 2 c_i). Flipping the key where G < 2 c_i makes all weights positive, and as weights are small
integers the sum is one count of bits for each of their binary digits: two for G = 4, not four.

The threshold is found without a histogram of everything. It is estimated from a sample of tokens, and all tokens are
sorted into eight bins around that: below, six exact values, above. Tallies of the bins then tell where the threshold
really lies; unless the sample was off by four values or more, the answer is exactly the top.

Bins lie in memory as bytes. To emit, 32 of them become a word of bits by arithmetic on four at a time, and what is
emitted costs by the word and by the token chosen, not by the token.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait, libdevice

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))

BELOW = tl.constexpr(4)
"""The bin of the estimated threshold itself."""
RUN = tl.constexpr(8)
"""Tokens that the sample takes in one place: what 32 bytes hold."""


@triton.jit
def popcount(bits):
    """Bits that are set: one instruction, which the interpreter does not know."""
    if not INTERPRETED:
        return libdevice.popc(bits)
    x = bits.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


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
    guesses,
    capacity,
    wanted,
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
    """Masks int32 [units, 1 + DIGITS]: what to flip, and the bits of each binary digit; and the estimated threshold."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    length = tl.load(lengths + unit // UNITS)
    spot = tl.arange(0, SAMPLE)
    apart = tl.maximum(length // (SAMPLE // RUN) // RUN * RUN, RUN)
    place = spot // RUN * apart + spot % RUN
    seen = tl.load(codes + unit.to(tl.int64) * capacity + place, place < length, 0)

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
    known = tl.where(place < length, total, LEVELS - 1)
    drawn = tl.sum((place < length).to(tl.int32), axis=0)
    goal = (wanted.to(tl.int64) * drawn + length - 1) // length
    guess = tl.sum((tl.cumsum(tl.histogram(known, LEVELS), axis=0) < goal).to(tl.int32), axis=0)
    tl.store(guesses + unit, guess)


@triton.jit
def tally(
    codes,
    lengths,
    masks,
    guesses,
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
    offset = BELOW - tl.load(guesses + unit)
    bin_of = tl.minimum(tl.maximum(differing(mine, masks + unit * (1 + DIGITS), DIGITS) + offset, 0), 7)
    ones = tl.full((CHUNK,), 1, tl.int32) << (4 * bin_of)
    if (first < sinks) | (first + CHUNK > length - window):
        bin_of = tl.where((at < sinks) | (at >= length - window), 0, bin_of)
        bin_of = tl.where(at < length, bin_of, 8)
        ones = tl.where(at < length, tl.full((CHUNK,), 1, tl.int32) << (4 * tl.minimum(bin_of, 7)), 0)
    tl.store(bins + unit.to(tl.int64) * (CHUNKS * CHUNK) + at, bin_of.to(tl.int8))

    # Eight counters of four bits for four tokens, then of sixteen bits for all.
    fours = tl.sum(tl.reshape(ones, (CHUNK // 4, 4)), axis=1)
    tallies += unit * (8 * CHUNKS) + chunk
    for pair in tl.static_range(4):
        both = tl.sum((fours >> (4 * pair)) & 0x000F000F, axis=0)
        tl.store(tallies + pair * CHUNKS, both & 0xFFFF)
        tl.store(tallies + (pair + 4) * CHUNKS, both >> 16)


@triton.jit
def reaching(words, bound):
    """Of four bytes below 128, the highest bit of those that are at least `bound`, which is at most 128."""
    lift = (128 - bound).to(tl.uint32) * 0x01010101
    return (words + lift) & 0x80808080


@triton.jit
def spread(ids, bits, place, end, first, WORDS: tl.constexpr):
    """Write the tokens of set bits [WORDS] from `place` [WORDS] on, as long as that is below `end`."""
    left = bits
    word = first + tl.arange(0, WORDS) * 32
    most = tl.max(popcount(bits), axis=0)
    for _ in range(most):
        bit = popcount((left & -left) - 1)
        tl.store(ids + place, word + (bit % 8) * 4 + bit // 8, (left != 0) & (place < end))
        left = left & (left - 1)
        place += 1


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
    OVERLAP: tl.constexpr,
):
    """Write a chunk's chosen tokens where they belong: those below the threshold in order, then those at it.

    `bins` as int32, four in one.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    WORDS: tl.constexpr = CHUNK // 32
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    byte = tl.arange(0, 8)
    at = unit.to(tl.int64) * (CHUNKS * CHUNK // 4) + chunk * (CHUNK // 4)
    fours = tl.load(bins + at + tl.arange(0, WORDS)[:, None] * 8 + byte[None, :]).to(tl.uint32, bitcast=True)
    length = tl.load(lengths + unit // UNITS)
    goal = tl.minimum(wanted, length)

    level = tl.arange(0, 8)
    every = tl.arange(0, CHUNKS_PADDED)
    at_tally = (unit * 8 + level[:, None]) * CHUNKS + every[None, :]
    held = tl.load(tallies + at_tally, (level[:, None] >= 0) & (every[None, :] < CHUNKS), 0)
    totals = tl.sum(held, axis=1)
    earlier = tl.sum(tl.where(every[None, :] < chunk, held, 0), axis=1)
    cut = tl.sum((tl.cumsum(totals, axis=0) < goal).to(tl.int32), axis=0)
    # Two sums at a time: each is below 2 ** 31.
    both = totals.to(tl.int64) << 32 | earlier.to(tl.int64)
    under_cut = tl.sum(tl.where(level < cut, both, 0), axis=0)
    below = (under_cut >> 32).to(tl.int32)
    before = under_cut.to(tl.int32)
    ties_before = tl.sum(tl.where(level == cut, earlier, 0), axis=0)

    # Byte i of word j of a block of 32 tokens, which is token 4 j + i, becomes bit 8 i + j.
    from_cut = reaching(fours, cut)
    beyond = reaching(fours, cut + 1)
    shift = (7 - byte)[None, :].to(tl.uint32)
    under = tl.sum(((from_cut ^ 0x80808080) >> shift).to(tl.int32, bitcast=True), axis=1)
    level_with = tl.sum(((from_cut ^ beyond) >> shift).to(tl.int32, bitcast=True), axis=1)
    numbers = popcount(under) + (popcount(level_with) << 16)
    ranks = tl.cumsum(numbers, axis=0) - numbers
    ids += unit.to(tl.int64) * wanted
    spread(ids, under, before + (ranks & 0xFFFF), goal, chunk * CHUNK, WORDS)
    spread(ids, level_with, below + ties_before + (ranks >> 16), goal, chunk * CHUNK, WORDS)
    if chunk == 0:
        tl.store(counts + unit, goal)
        tl.store(thresholds + unit, tl.load(guesses + unit) + cut - BELOW)
        tl.store(misled + unit, (((cut == 0) | (cut == 7)) & (goal < length)).to(tl.int32))
