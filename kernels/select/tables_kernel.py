# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false
"""Selection by sums of table entries: the passes that score all tokens by a query's tables.

A token has PARTS codes, each below ENTRIES, and a query a table of gains for each part. Gains are whole numbers from 0
to 32767, so that a token's sum does not depend on the order of adding, and what is chosen is a function of the tables
alone. Its distance is what the sum lacks to the greatest possible. Where tokens have norms, the sum is multiplied by
them in float32, and distances are taken between the bits of floats, which are in the order of the floats.

Tables lie in shared memory while they are looked up. Where the codes of a token are few and side by side, all tables
lie there at once, and who needs a distance reckons it. Many codes are read once, by `score`, a table after another, and
distances lie in memory. Shared memory is then the bound: 32 entries of a table of 1024, at random places in 32 banks,
take 3.5 turns on average.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import cut_of, sampled, tallied

GAIN = tl.constexpr(32767)
INFINITY = tl.constexpr(0x7F800000)
"""The bits of float32's infinity."""
DEVIATIONS = tl.constexpr(4.0)
"""How far the frame reaches around the sample's threshold."""
FINER = tl.constexpr(5)
"""Binary digits by which a pass narrows the frame: half of 62 bins, so that the cut's bin fits with room to spare."""
SHARP = tl.constexpr(32)
"""How many times as wide as its ends are uncertain a frame is at least, unless its ends are certain."""


@triton.jit
def of_words(words, upper, place: tl.constexpr, ENTRIES: tl.constexpr, HIGH: tl.constexpr):
    """Codes int32 [4 N] from words of four bytes [N], with two more bits from place `place` of `upper` where HIGH.

    Two codes at a time are made of bytes 0 and 2 and of bytes 1 and 3.
    """
    even = words & 0x00FF00FF
    odd = (words >> 8) & 0x00FF00FF
    if HIGH:
        even |= (upper << (8 - 2 * place)) & 0x03000300
        odd |= (upper >> (2 * place)) & 0x03000300
    even &= (ENTRIES - 1) * 0x10001
    odd &= (ENTRIES - 1) * 0x10001
    pairs = tl.join(tl.join(even & 0xFFFF, even >> 16), tl.join(odd & 0xFFFF, odd >> 16))
    return tl.reshape(pairs, (4 * words.shape[0],))


@triton.jit
def looked_up(codes, upper, table, place: tl.constexpr, ENTRIES: tl.constexpr, HIGH: tl.constexpr, WORDS: tl.constexpr):
    """Entries of a table by a part's codes, uint8, or four in a word where WORDS. A code beyond it wraps."""
    if WORDS:
        codes = of_words(codes, upper, place, ENTRIES, HIGH)
    else:
        codes = codes.to(tl.int32)
        if HIGH:
            codes |= ((upper.to(tl.int32) >> (2 * place)) & 3) << 8
        codes &= ENTRIES - 1
    return tl.gather(table, codes, 0).to(tl.int32)


@triton.jit
def score(
    codes,
    high,
    tables,
    norms,
    scores,
    capacity,
    PARTS: tl.constexpr,
    ENTRIES: tl.constexpr,
    PLANAR: tl.constexpr,
    HIGH: tl.constexpr,
    WORDS: tl.constexpr,
    NORMED: tl.constexpr,
    BLOCK: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Distances int32 [units, capacity], not below 0: what tokens lack to the greatest possible score.

    Codes uint8 [units, capacity, PARTS], or [units, PARTS, capacity] where PLANAR; where HIGH, two more bits of each,
    of four parts in a byte, [units, PARTS / 4, capacity]; where WORDS, both as int32, four tokens in one.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    STEP: tl.constexpr = 4 if WORDS else 1
    unit = tl.program_id(1)
    # In bytes, or in words.
    place = tl.program_id(0) * (BLOCK // STEP) + tl.arange(0, BLOCK // STEP)
    row = capacity // STEP
    here = place < row
    apart = row if PLANAR else 1
    at = place if PLANAR else place * PARTS
    codes += unit.to(tl.int64) * row * PARTS
    high += unit.to(tl.int64) * row * (PARTS // 4)
    tables += unit * (PARTS * ENTRIES)
    entry = tl.arange(0, ENTRIES)
    total = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, PARTS // 4 * 4, 4):
        # Four parts are asked for before the first is used.
        upper = tl.load(high + first // 4 * row + place, here, 0) if HIGH else 0
        a = tl.load(codes + first * apart + at, here, 0)
        b = tl.load(codes + (first + 1) * apart + at, here, 0)
        c = tl.load(codes + (first + 2) * apart + at, here, 0)
        d = tl.load(codes + (first + 3) * apart + at, here, 0)
        of_a = tl.load(tables + first * ENTRIES + entry)
        of_b = tl.load(tables + (first + 1) * ENTRIES + entry)
        of_c = tl.load(tables + (first + 2) * ENTRIES + entry)
        of_d = tl.load(tables + (first + 3) * ENTRIES + entry)
        total += looked_up(a, upper, of_a, 0, ENTRIES, HIGH, WORDS)
        total += looked_up(b, upper, of_b, 1, ENTRIES, HIGH, WORDS)
        total += looked_up(c, upper, of_c, 2, ENTRIES, HIGH, WORDS)
        total += looked_up(d, upper, of_d, 3, ENTRIES, HIGH, WORDS)
    for part in tl.static_range(PARTS // 4 * 4, PARTS):
        code = tl.load(codes + part * apart + at, here, 0)
        total += looked_up(code, 0, tl.load(tables + part * ENTRIES + entry), 0, ENTRIES, False, WORDS)
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lack = PARTS * GAIN - total
    if NORMED:
        norm = tl.load(norms + unit.to(tl.int64) * capacity + token, token < capacity, 0.0).to(tl.float32)
        lack = INFINITY - (total.to(tl.float32) * norm).to(tl.int32, bitcast=True)
    tl.store(scores + unit.to(tl.int64) * capacity + token, lack, token < capacity)


@triton.jit
def side_by_side(codes, tables, at, here, TOKENS: tl.constexpr, PARTS: tl.constexpr, ENTRIES: tl.constexpr):
    """Distances int32 [TOKENS] of codes at places `at` [TOKENS * PARTS], those of a token one after another."""
    every = tl.load(tables + tl.arange(0, PARTS * ENTRIES))
    part = tl.arange(0, TOKENS * PARTS) % PARTS
    code = tl.load(codes + at, here, 0).to(tl.int32) & (ENTRIES - 1)
    found = tl.gather(every, part * ENTRIES + code, 0).to(tl.int32)
    return PARTS * GAIN - tl.sum(tl.reshape(found, (TOKENS, PARTS)), axis=1)


@triton.jit
def ranked(values, first, last, BITS: tl.constexpr):
    """A lower bound of the value of rank `first` and an upper one of that of rank `last`, of values below 2 ** BITS.

    Bits are found from the highest on, both ranks with one count, until bounds are sharp enough.
    """
    low = tl.zeros((), tl.int32)
    high = tl.zeros((), tl.int32)
    bit = tl.full((), BITS, tl.int32)
    while (bit > 0) & (((high - low) >> bit) < SHARP):
        bit -= 1
        a = low + (1 << bit)
        b = high + (1 << bit)
        below = tl.sum((values < a).to(tl.int32) + ((values < b).to(tl.int32) << 16), axis=0)
        low = tl.where((below & 0xFFFF) < first, a, low)
        high = tl.where((below >> 16) < last, b, high)
    return low, high + ((1 << bit) - 1)


@triton.jit
def bracket(
    codes,
    tables,
    lengths,
    frames,
    capacity,
    wanted,
    sinks,
    window,
    UNITS: tl.constexpr,
    PARTS: tl.constexpr,
    ENTRIES: tl.constexpr,
    SCORED: tl.constexpr,
    SAMPLE: tl.constexpr,
    BITS: tl.constexpr,
    BINS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Frames around the threshold, from a sample: the distances of the ranks four standard deviations to each side.

    Codes uint8 [units, capacity, PARTS], or, where SCORED, the distances, which are below 2 ** BITS.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    length = tl.load(lengths + unit // UNITS)
    token = sampled(tl.arange(0, SAMPLE), length, SAMPLE)
    there = (token >= sinks) & (token < length - window)
    if SCORED:
        found = tl.load(codes + unit.to(tl.int64) * capacity + token, there, 0)
    else:
        codes += unit.to(tl.int64) * capacity * PARTS
        place = tl.arange(0, SAMPLE * PARTS)
        at = sampled(place // PARTS, length, SAMPLE) * PARTS + place % PARTS
        here = at < length * PARTS
        found = side_by_side(codes, tables + unit * (PARTS * ENTRIES), at, here, SAMPLE, PARTS, ENTRIES)
    seen = tl.sum(there.to(tl.int32), axis=0)
    # Of those that are not chosen anyway.
    free = tl.maximum(length - sinks - window, 1)
    share = tl.minimum((wanted - sinks - window) / free.to(tl.float32), 1.0)
    margin = DEVIATIONS * tl.sqrt(seen * share * (1 - share)) + 1
    fewer = tl.floor(seen * share - margin).to(tl.int32)
    more = tl.minimum(tl.ceil(seen * share + margin).to(tl.int32), seen)
    low, last = ranked(tl.where(there, found, 0x7FFFFFFF), tl.maximum(fewer, 1), more, BITS)
    # Where so few are wanted that the sample may hold none of them, the frame begins at the greatest possible score.
    low = tl.where(fewer < 1, 0, low)
    tl.store(frames + 2 * unit, low)
    tl.store(frames + 2 * unit + 1, width_for(last.to(tl.int64) - low + 1, BINS))


@triton.jit
def width_for(span, BINS: tl.constexpr):
    """The least logarithm of a bin's width such that the inner bins hold a span."""
    bit = tl.arange(0, 32)
    return tl.sum(((tl.full((32,), BINS - 2, tl.int64) << bit) < span).to(tl.int32), axis=0)


@triton.jit
def narrow(
    tallies,
    lengths,
    frames,
    wanted,
    UNITS: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNKS_PADDED: tl.constexpr,
    BINS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """The frame of the next pass: the bin in which the threshold was found, or all that lies beyond the frame there."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    goal = tl.minimum(wanted, tl.load(lengths + unit // UNITS))
    cut = cut_of(tl.sum(tallied(tallies, unit, CHUNKS, CHUNKS_PADDED, BINS), axis=1), goal)
    low = tl.load(frames + 2 * unit)
    shift = tl.load(frames + 2 * unit + 1)
    finer = tl.maximum(shift - FINER, 0)
    beyond = low + ((BINS - 2) << shift)
    finer = tl.where(
        cut == 0, width_for(low, BINS), tl.where(cut == BINS - 1, width_for(INFINITY - beyond, BINS), finer)
    )
    tl.store(frames + 2 * unit, tl.where(cut == 0, 0, low + ((cut - 1) << shift)))
    tl.store(frames + 2 * unit + 1, finer)


@triton.jit
def tally(
    codes,
    tables,
    lengths,
    frames,
    bins,
    tallies,
    capacity,
    sinks,
    window,
    UNITS: tl.constexpr,
    PARTS: tl.constexpr,
    ENTRIES: tl.constexpr,
    SCORED: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    EACH: tl.constexpr,
    BINS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Bins int8 [units, CHUNKS * CHUNK] of a chunk's tokens, BINS where there is none, and how many each bin holds.

    A thread holds EACH tokens that follow each other.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    first = chunk * CHUNK
    at = first + tl.arange(0, CHUNK)
    length = tl.load(lengths + unit // UNITS)
    low = tl.load(frames + 2 * unit)
    shift = tl.load(frames + 2 * unit + 1)
    # Loads ask whether there is room, not whether there is a token, which would make them loads of one byte.
    if SCORED:
        found = tl.load(codes + unit.to(tl.int64) * capacity + at, at < capacity, 0)
    else:
        codes += unit.to(tl.int64) * capacity * PARTS
        place = first * PARTS + tl.arange(0, CHUNK * PARTS)
        here = place < capacity * PARTS
        found = side_by_side(codes, tables + unit * (PARTS * ENTRIES), place, here, CHUNK, PARTS, ENTRIES)
    bin_of = tl.minimum(tl.maximum(((found - low) >> shift) + 1, 0), BINS - 1)
    if (first < sinks) | (first + CHUNK > length - window):
        bin_of = tl.where((at < sinks) | (at >= length - window), 0, bin_of)
        bin_of = tl.where(at < length, bin_of, BINS)
    tl.store(bins + unit.to(tl.int64) * (CHUNKS * CHUNK) + at, bin_of.to(tl.int8))

    # Nearly all tokens are beyond the frame, where their number is known by that of the others, which count themselves.
    # A row is what a thread holds, so that tokens need not change threads for being counted one by one.
    rows = tl.reshape(bin_of, (CHUNK // EACH, EACH))
    tallies += unit * (BINS * CHUNKS) + chunk
    level = tl.arange(0, BINS)
    tl.store(tallies + level * CHUNKS, 0, level < BINS - 1)
    tl.debug_barrier()
    tl.atomic_add(tallies + rows * CHUNKS, 1, rows < BINS - 1, sem="relaxed", scope="cta")
    present = tl.minimum(tl.maximum(length - first, 0), CHUNK)
    tl.store(tallies + (BINS - 1) * CHUNKS, present - tl.sum((bin_of < BINS - 1).to(tl.int32), axis=0))
