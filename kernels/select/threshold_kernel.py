# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false
"""What selections share: the best of many scores without a sort, from bins to ids in order.

A token's score is an integer, its distance, of which less is better. Distances are sorted into BINS around where the
threshold is thought to lie, given by a frame (low, shift) for each unit:

    bin = min(max(((distance - low) >> shift) + 1, 0), BINS - 1),

so that bin 0 is better than the frame, the last one worse, and one between them 2 ** shift values wide. Tallies of the
bins tell in which one the threshold is, the cut: chosen are all tokens below it, and of those in it as many as are
wanted, the earliest blocks of 32 first. With shift = 0 that is exactly the top.

Bins lie in memory as bytes. To emit, 32 of them become a word of bits by arithmetic on four at a time, and what is
emitted costs by the word and by the token chosen, not by the token.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait, libdevice

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))

RUN = tl.constexpr(8)
"""Tokens that a sample takes in one place."""


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
def sampled(spot, length, SAMPLE: tl.constexpr):
    """The tokens of a sample at these spots of it, runs of 8 spread over the whole length; beyond it where that is less
    than the sample."""
    # What is multiplied has no sign: dividing it is a shift.
    runs = (spot // RUN).to(tl.uint32) * tl.maximum(length, SAMPLE).to(tl.uint32) // SAMPLE
    return runs.to(tl.int32) * RUN + spot % RUN


@triton.jit
def reached_by(order, goal):
    """The greatest uint32 that at least `goal` of these reach, by its bits from the highest on: 32 counts."""
    threshold = tl.zeros((), tl.uint32)
    for place in tl.static_range(32):
        higher = threshold | (1 << (31 - place))
        enough = tl.sum((order >= higher).to(tl.int32), axis=0) >= goal
        threshold = tl.where(enough, higher, threshold)
    return threshold


@triton.jit
def reaching(words, bound):
    """Of four bytes below 128, the highest bit of those that are at least `bound`, which is at most 128."""
    lift = (128 - bound).to(tl.uint32) * 0x01010101
    return (words + lift) & 0x80808080


@triton.jit
def put(to, value, here):
    """Store where `here`. Triton would first move what is stored between threads, so that neighbours write neighbours;
    here each writes a place of its own, and the way there costs more than the store."""
    if INTERPRETED:
        tl.store(to, value, here)
    else:
        store: tl.constexpr = (
            "{ .reg .pred here; setp.ne.s32 here, $3, 0; @here st.global.b32 [$1], $2; mov.b32 $0, $2; }"
        )
        address = to.to(tl.int64)
        tl.inline_asm_elementwise(
            store, "=r,l,r,r", [address, value, here.to(tl.int32)], tl.int32, is_pure=False, pack=1
        )


@triton.jit
def spread(ids, sure, tied, to_sure, to_tied, end, first, WORDS: tl.constexpr):
    """Write the tokens of the set bits of `sure` [WORDS] from to_sure [WORDS] on, and those of `tied`, which has no bit
    in common with it, from to_tied on as long as that is below `end`.
    """
    left = sure | tied
    word = first + tl.arange(0, WORDS) * 32
    most = tl.max(popcount(left), axis=0)
    for _ in range(most):
        lowest = left & -left
        bit = popcount(lowest - 1)
        is_sure = (sure & lowest) != 0
        to = tl.where(is_sure, to_sure, to_tied)
        put(ids + to, word + (bit % 8) * 4 + bit // 8, (left != 0) & (to < end))
        left = left ^ lowest
        to_sure += is_sure.to(tl.int32)
        to_tied += 1 - is_sure.to(tl.int32)


@triton.jit
def add_two(a, b, c, d):
    """Two sums at once."""
    return a + c, b + d


@triton.jit
def add_four(a, b, c, d, e, f, g, h):
    """Four sums at once: threads wait for each other once."""
    return a + e, b + f, c + g, d + h


@triton.jit
def cut_of(totals, goal):
    """The bin of the threshold: the first up to which there are as many tokens as wanted."""
    return tl.sum((tl.cumsum(totals, axis=0) < goal).to(tl.int32), axis=0)


@triton.jit
def tallied(tallies, unit, CHUNKS: tl.constexpr, CHUNKS_PADDED: tl.constexpr, BINS: tl.constexpr):
    """How many tokens of each chunk are in each bin, int32 [BINS, CHUNKS_PADDED]."""
    level = tl.arange(0, BINS)
    every = tl.arange(0, CHUNKS_PADDED)
    at = (unit * BINS + level[:, None]) * CHUNKS + every[None, :]
    return tl.load(tallies + at, (level[:, None] >= 0) & (every[None, :] < CHUNKS), 0)


@triton.jit
def emit(
    bins,
    tallies,
    frames,
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
    BINS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Write a chunk's chosen tokens where they belong: those below the threshold in order, then those at it.

    `bins` as int32, four in one; BINS is the bin of what is not there.
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

    level = tl.arange(0, BINS)
    every = tl.arange(0, CHUNKS_PADDED)
    held = tallied(tallies, unit, CHUNKS, CHUNKS_PADDED, BINS)
    totals, earlier = tl.reduce((held, tl.where(every[None, :] < chunk, held, 0)), 1, add_two)
    cut = cut_of(totals, goal)
    is_below = level < cut
    is_cut = level == cut
    below, before, ties, ties_before = tl.reduce(
        (
            tl.where(is_below, totals, 0),
            tl.where(is_below, earlier, 0),
            tl.where(is_cut, totals, 0),
            tl.where(is_cut, earlier, 0),
        ),
        0,
        add_four,
    )

    # Byte i of word j of a block of 32 tokens, which is token 4 j + i, becomes bit 8 i + j.
    from_cut = reaching(fours, cut)
    beyond = reaching(fours, cut + 1)
    shift = (7 - byte)[None, :].to(tl.uint32)
    under = tl.sum(((from_cut ^ 0x80808080) >> shift).to(tl.int32, bitcast=True), axis=1)
    level_with = tl.sum(((from_cut ^ beyond) >> shift).to(tl.int32, bitcast=True), axis=1)
    numbers = popcount(under) + (popcount(level_with) << 16)
    ranks = tl.cumsum(numbers, axis=0) - numbers
    ids += unit.to(tl.int64) * wanted
    to_under = before + (ranks & 0xFFFF)
    to_level = below + ties_before + (ranks >> 16)
    spread(ids, under, level_with, to_under, to_level, goal, chunk * CHUNK, WORDS)
    if chunk == 0:
        tl.store(counts + unit, goal)
        low = tl.load(frames + 2 * unit)
        wide = tl.load(frames + 2 * unit + 1)
        tl.store(thresholds + unit, low + ((cut - 1) << wide))
        tl.store(misled + unit, (((cut == 0) | (cut == BINS - 1)) & (goal < below + ties)).to(tl.int32))
