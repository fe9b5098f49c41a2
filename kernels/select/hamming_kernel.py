# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""One kernel that scores tokens by the bits in which they differ from a group's and chooses the best.

How often key bit i differs from the group's bits is linear in the key: with c_i of G query heads at 1, it is
sum_i c_i + sum_i k_i (G - 2 c_i). Flipping the key where G < 2 c_i makes all weights positive, and as weights are small
integers the sum is one count of bits for each of their binary digits: two for G = 4, not four.

The threshold is found without a histogram of everything. It is estimated from a sample of tokens, by every program for
itself. Tokens that may be better are listed: those below an edge three values above that estimate, a few in a hundred.
Only they are sorted into eight bins: below, six exact values, and beyond the edge. Tallies of the bins then tell where
the threshold really lies; unless the sample was off by three values or more, the answer is exactly the top.

Programs of a unit need each other's tallies. Where all programs of a launch run at the same time they wait for each
other in the middle, which takes as long as one more read of memory; else counting and emitting are two launches.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import INTERPRETED, cut_of, popcount, put, sampled, tallied

ABOVE = tl.constexpr(3)
"""How far the edge is above the estimated threshold, and exact values below it."""


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
def guessed(seen, there, flip, digits, length, wanted, DIGITS: tl.constexpr, LEVELS: tl.constexpr):
    """The threshold by a sample of a unit's codes."""
    known = tl.where(there, differing(seen, flip, digits, DIGITS), LEVELS - 1)
    drawn = tl.sum(there.to(tl.int32), axis=0)
    goal = (wanted.to(tl.int64) * drawn + length - 1) // length
    return tl.sum((tl.cumsum(tl.histogram(known, LEVELS), axis=0) < goal).to(tl.int32), axis=0)


@triton.jit
def lowest(count):
    """The lowest so many bits of a word: none below 1, all from 32 on."""
    some = (tl.full(count.shape, 1, tl.int32) << (count & 31)) - 1
    return tl.where(count <= 0, 0, tl.where(count >= 32, -1, some))


@triton.jit
def mark(
    mine,
    codes,
    words,
    flip,
    digits,
    edge,
    first,
    capacity,
    DIGITS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Set the bits of a chunk's tokens below the edge in words int32 [CHUNK / 32].

    `mine` are the codes of its first BLOCK tokens.
    """
    line = tl.arange(0, BLOCK // 32)
    bit = tl.arange(0, 32)
    spot = line[:, None] * 32 + bit[None, :]
    power = tl.full((1, 32), 1, tl.int32) << bit[None, :]
    for start in tl.range(first, first + CHUNK, BLOCK, loop_unroll_factor=2):
        at = start + spot
        beyond = at + BLOCK
        following = tl.load(codes + beyond, beyond < tl.minimum(first + CHUNK, capacity), 0)
        word = tl.sum(tl.where(differing(mine, flip, digits, DIGITS) < edge, power, 0), axis=1)
        put(words + (start - first) // 32 + line, word, line >= 0)
        mine = following


@triton.jit
def scatter(to, bits, place, low, high, first, WORDS: tl.constexpr):
    """Write the tokens of set bits [WORDS], whose places begin at `place`, to place - low if within [low, high)."""
    token = first + tl.arange(0, WORDS) * 32
    left = bits
    most = tl.max(popcount(bits), axis=0)
    for _ in range(most):
        put(to + (place - low), token + popcount((left & -left) - 1), (left != 0) & (place >= low) & (place < high))
        left = left & (left - 1)
        place += 1


@triton.jit
def window_of(
    listed,
    bits,
    place,
    low,
    total,
    first,
    codes,
    flip,
    digits,
    edge,
    length,
    sinks,
    window,
    DIGITS: tl.constexpr,
    WORDS: tl.constexpr,
    LISTED: tl.constexpr,
):
    """From place `low` on, LISTED of the tokens of set bits and their bins, 0 to 6, 8 where there is none."""
    tl.debug_barrier()
    scatter(listed, bits, place, low, low + LISTED, first, WORDS)
    tl.debug_barrier()
    rank = tl.arange(0, LISTED)
    here = low + rank < total
    token = tl.load(listed + rank, here, 0, cache_modifier=".cg")
    found = differing(tl.load(codes + token, here, 0), flip, digits, DIGITS) + (7 - edge)
    found = tl.minimum(tl.maximum(found, 0), 6)
    found = tl.where((token < sinks) | (token >= length - window), 0, found)
    return token, tl.where(here, found, 8)


@triton.jit
def add_both(a, b, c, d):
    """Two sums at a time."""
    return a + c, b + d


@triton.jit
def add_all(a, b, c, d, e, f, g, h):
    """Four sums at a time."""
    return a + e, b + f, c + g, d + h


@triton.jit
def tallied_in(bin_of):
    """How many are in bins 0 and 4, 1 and 5, 2 and 6, in the lower and the upper half of a number each."""
    zero = tl.where(bin_of == 0, 1, tl.where(bin_of == 4, 1 << 16, 0))
    one = tl.where(bin_of == 1, 1, tl.where(bin_of == 5, 1 << 16, 0))
    two = tl.where(bin_of == 2, 1, tl.where(bin_of == 6, 1 << 16, 0))
    three = tl.where(bin_of == 3, 1, 0)
    return tl.reduce((zero, one, two, three), 0, add_all)


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
    edges,
    words,
    listed,
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
    LISTED: tl.constexpr,
    COUNT: tl.constexpr,
    EMIT: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Choose for one unit in one chunk: COUNT, then EMIT, which needs the counts of all chunks.

    words int32 [units, CHUNKS * CHUNK / 32]: which tokens are below the edge; listed int32 [units, CHUNKS, LISTED]: so
    many of them at a time; tallies int32 [units, 8, CHUNKS]; edges int32 [units].
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    WORDS: tl.constexpr = CHUNK // 32
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    first = chunk * CHUNK
    length = tl.load(lengths + unit // UNITS)
    codes += unit.to(tl.int64) * capacity
    words += (unit * CHUNKS + chunk).to(tl.int64) * WORDS
    listed += (unit * CHUNKS + chunk).to(tl.int64) * LISTED
    if COUNT:
        # On their way while the threshold is guessed, as those of each further block are while one is looked at.
        spot = tl.arange(0, BLOCK // 32)[:, None] * 32 + tl.arange(0, 32)[None, :]
        mine = tl.load(codes + first + spot, first + spot < capacity, 0)
        sample = sampled(length, SAMPLE)
        seen = tl.load(codes + sample, sample < length, 0)
    positive = group_bits(query, planes, unit, unit % UNITS, GROUP, GROUP_PADDED, WIDTH, WIDTH_PADDED)
    flip, weight = masks_of(positive, GROUP)
    one = tl.full((32,), 1, tl.int32) << tl.arange(0, 32)
    digits = ()
    for digit in tl.static_range(DIGITS):
        mask = tl.sum(tl.where(((weight >> digit) & 1) == 1, one, 0), axis=0)
        digits = digits + (mask,)  # noqa: RUF005 (Triton knows no starred tuples)
    if COUNT:
        edge = guessed(seen, sample < length, flip, digits, length, wanted, DIGITS, LEVELS) + ABOVE
        if chunk == 0:
            tl.store(edges + unit, edge)
        mark(
            mine,
            codes,
            words,
            flip,
            digits,
            edge,
            first,
            capacity,
            DIGITS,
            CHUNK,
            BLOCK,
        )
        tl.debug_barrier()
    else:
        edge = tl.load(edges + unit)

    bits = tl.load(words + tl.arange(0, WORDS), cache_modifier=".cg")
    begins = first + tl.arange(0, WORDS) * 32
    bits |= lowest(sinks - begins) | ~lowest(length - window - begins)
    bits &= lowest(length - begins)
    numbers = popcount(bits)
    place = tl.cumsum(numbers, axis=0) - numbers
    total = tl.sum(numbers, axis=0)
    low = tl.zeros((), tl.int32)
    token, bin_of = window_of(
        listed, bits, place, low, total, first, codes, flip, digits, edge, length, sinks, window, DIGITS, WORDS, LISTED
    )
    tallies += unit * (8 * CHUNKS)
    if COUNT:
        a, b, c, d = tallied_in(bin_of)
        for further in tl.range(LISTED, total, LISTED):
            _, more = window_of(
                listed,
                bits,
                place,
                further,
                total,
                first,
                codes,
                flip,
                digits,
                edge,
                length,
                sinks,
                window,
                DIGITS,
                WORDS,
                LISTED,
            )
            e, f, g, h = tallied_in(more)
            a, b, c, d = add_all(a, b, c, d, e, f, g, h)
        tl.store(tallies + chunk, a & 0xFFFF)
        tl.store(tallies + CHUNKS + chunk, b & 0xFFFF)
        tl.store(tallies + 2 * CHUNKS + chunk, c & 0xFFFF)
        tl.store(tallies + 3 * CHUNKS + chunk, d)
        tl.store(tallies + 4 * CHUNKS + chunk, (a >> 16) & 0xFFFF)
        tl.store(tallies + 5 * CHUNKS + chunk, (b >> 16) & 0xFFFF)
        tl.store(tallies + 6 * CHUNKS + chunk, (c >> 16) & 0xFFFF)
        tl.store(tallies + 7 * CHUNKS + chunk, tl.maximum(tl.minimum(length - first, CHUNK), 0) - total)
    if EMIT:
        if COUNT:
            meet(arrivals, unit, CHUNKS)
        goal = tl.minimum(wanted, length)
        level = tl.arange(0, 8)
        every = tl.arange(0, CHUNKS_PADDED)
        held = tallied(tallies, 0, CHUNKS, CHUNKS_PADDED, 8)
        totals = tl.sum(held, axis=1)
        earlier = tl.sum(tl.where(every[None, :] < chunk, held, 0), axis=1)
        cut = cut_of(totals, goal)
        below, to_sure = tl.reduce((tl.where(level < cut, totals, 0), tl.where(level < cut, earlier, 0)), 0, add_both)
        at_cut, ties_before = tl.reduce(
            (tl.where(level == cut, totals, 0), tl.where(level == cut, earlier, 0)), 0, add_both
        )
        ids += unit.to(tl.int64) * wanted
        to_tied = below + ties_before
        for start in tl.range(0, total, LISTED):
            sure = bin_of < cut
            tied = bin_of == cut
            both = sure.to(tl.int32) + (tied.to(tl.int32) << 16)
            until = tl.cumsum(both, axis=0)
            before = until - both
            to = tl.where(sure, to_sure + (before & 0xFFFF), to_tied + (before >> 16))
            put(ids + to, token, (sure | tied) & (to < goal))
            written = tl.max(until, axis=0)
            to_sure += written & 0xFFFF
            to_tied += written >> 16
            if start + LISTED < total:
                token, bin_of = window_of(
                    listed,
                    bits,
                    place,
                    start + LISTED,
                    total,
                    first,
                    codes,
                    flip,
                    digits,
                    edge,
                    length,
                    sinks,
                    window,
                    DIGITS,
                    WORDS,
                    LISTED,
                )
        if cut == 7:  # the sample misled, and too few are below the edge
            others = ~bits & lowest(length - begins)
            numbers = popcount(others)
            place = to_tied + tl.cumsum(numbers, axis=0) - numbers
            scatter(ids, others, place, low, goal, first, WORDS)
        if chunk == 0:
            tl.store(counts + unit, goal)
            tl.store(thresholds + unit, edge + cut - 7)
            tl.store(misled + unit, (((cut == 0) | (cut == 7)) & (goal < below + at_cut)).to(tl.int32))
