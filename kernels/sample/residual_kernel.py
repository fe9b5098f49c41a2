# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""The kernel that samples what a predictor left out, launched for the pilot and again for the sample.

Every token of every unit has one random number of 12 bits, a function of (seed, unit, token) that is computed where it
is needed and stored nowhere. What is drawn are the tokens of the residual whose number lies in [from, to): the pilot's
interval begins at 0, the sample's where the pilot's ends.

Numbers are made and compared 32 tokens at a time: the words of a generator are planes, one for each binary digit, in
which bit i belongs to the i-th token. Three calls of the generator serve 32 tokens, and a comparison takes one logic
instruction for each digit. Twelve digits are enough, as an interval that is rounded changes how many tokens are drawn,
at most by 1 in 4096 of the residual, but not that each is as likely as the others.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import popcount

BITS = tl.constexpr(12)
"""Of a token's number: bit p of that of token 32 w + i is bit i of word p % 4 of counter (w, unit, p // 4, 0)."""
NUMBERS = tl.constexpr(4096)


@triton.jit
def product(x, factor):
    """The upper and the lower half of products of 32 bits, by one instruction."""
    whole = x.to(tl.uint64) * factor
    return (whole >> 32).to(tl.uint32), (whole & 0xFFFFFFFF).to(tl.uint32)


@triton.jit
def planes(seed, word, unit, call):
    """Philox 4x32-10 (Salmon et al. 2011) of (word, unit, call, 0): four binary digits of 32 tokens' numbers each."""
    c0 = word.to(tl.uint32)
    c1 = c0 * 0 + unit.to(tl.uint32)
    c2 = (word * 0 + call).to(tl.uint32)
    c3 = c0 * 0
    k0 = (seed & 0xFFFFFFFF).to(tl.uint32)
    k1 = ((seed >> 32) & 0xFFFFFFFF).to(tl.uint32)
    for _ in tl.static_range(10):
        high_b, low_b = product(c2, 0xCD9E8D57)
        high_a, low_a = product(c0, 0xD2511F53)
        c0 = high_b ^ c1 ^ k0
        c1 = low_b
        c2 = high_a ^ c3 ^ k1
        c3 = low_a
        k0 += tl.full((), 0x9E3779B9, tl.uint32)
        k1 += tl.full((), 0xBB67AE85, tl.uint32)
    return (
        c0.to(tl.int32, bitcast=True),
        c1.to(tl.int32, bitcast=True),
        c2.to(tl.int32, bitcast=True),
        c3.to(tl.int32, bitcast=True),
    )


@triton.jit
def where(condition, new, old):
    """The new planes or the old ones."""
    return (
        tl.where(condition, new[0], old[0]),
        tl.where(condition, new[1], old[1]),
        tl.where(condition, new[2], old[2]),
        tl.where(condition, new[3], old[3]),
    )


@triton.jit
def below(low, middle, high, bound):
    """Bits of the tokens whose numbers are below a bound of 0 to 2 ** BITS; planes from the least digit on."""
    less = low[0] & 0
    for place in tl.static_range(4):
        less = majority(~low[place], less, -((bound >> place) & 1))
    for place in tl.static_range(4):
        less = majority(~middle[place], less, -((bound >> (4 + place)) & 1))
    for place in tl.static_range(4):
        less = majority(~high[place], less, -((bound >> (8 + place)) & 1))
    return less | -(bound >> BITS)


@triton.jit
def majority(a, b, c):
    """What two of three say, bit by bit."""
    return (a & (b | c)) | (b & c)


@triton.jit
def share_of(part, left):
    """Which share of 2 ** BITS numbers `part` of `left` tokens take, rounded up; all where there are no more."""
    whole = tl.full((), NUMBERS, tl.int64)
    found = (part.to(tl.int64) * whole + left - 1) // tl.maximum(left, 1)
    return tl.minimum(found, whole).to(tl.int32)


@triton.jit
def mark(chosen, marks, count, chunk, WORDS: tl.constexpr, LISTED: tl.constexpr):
    """Set the bits of the chosen tokens that lie in a chunk."""
    for start in range(0, count, LISTED):
        at = start + tl.arange(0, LISTED)
        token = tl.load(chosen + at, at < count, -1)
        mine = (token >= chunk * (WORDS * 32)) & (token < (chunk + 1) * (WORDS * 32))
        bit = tl.full((LISTED,), 1, tl.int32) << (token % 32)
        tl.atomic_or(marks + token // 32, bit, mine, sem="relaxed")


@triton.jit
def copy(chosen, ids, log_prob, count, chunk, CHUNKS: tl.constexpr, COPIED: tl.constexpr):
    """Copy a chunk's share of the chosen tokens, wherever they lie, to the list that is attended to."""
    share = tl.cdiv(count, CHUNKS)
    last = tl.minimum((chunk + 1) * share, count)
    for start in range(chunk * share, last, COPIED):
        at = start + tl.arange(0, COPIED)
        tl.store(ids + at, tl.load(chosen + at, at < last, -1), at < last)
        tl.store(log_prob + at, tl.zeros((COPIED,), tl.float32), at < last)


@triton.jit
def drawn_before(tallies, chunk, CHUNKS: tl.constexpr, CHUNKS_PADDED: tl.constexpr):
    """Wait until every earlier chunk of a unit has told how many tokens it has drawn; their sum.

    The look-back of a scan in one pass (Merrill and Garland 2016). A chunk waits for earlier ones alone, which are
    never started later. A tally of 0 is not yet told: one more than was drawn is.
    """
    every = tl.arange(0, CHUNKS_PADDED)
    told = tl.load(tallies + every, every < chunk, 1, volatile=True)
    while tl.min(told, axis=0) == 0:
        told = tl.load(tallies + every, every < chunk, 1, volatile=True)
    return tl.sum(told - 1, axis=0)


@triton.jit(do_not_specialize=["share", "least", "calls"])
def draw(
    seed,
    chosen,
    chosen_counts,
    lengths,
    marks,
    ends,
    tallies,
    pilot_counts,
    counts,
    short,
    ids,
    log_prob,
    wanted,
    room,
    words,
    share,
    least,
    calls,
    UNITS: tl.constexpr,
    PILOT: tl.constexpr,
    WORDS: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNKS_PADDED: tl.constexpr,
    LISTED: tl.constexpr,
    COPIED: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Write a chunk's tokens that are drawn behind what the list ids int32 [units, room] has, in order.

    PILOT: the chosen tokens are first copied to the list, and marked in marks int32 [units, words], a bit a token. The
    interval's end is computed, for the share (in 65536ths) of the residual that is drawn, but `least` tokens, and goes
    to ends int32 [units, 2]; how many were drawn to pilot_counts.
    Otherwise the interval is known, marks are cleared for the next call, and counts int32 [units] gets the length of
    the list; short 1 where it does not hold them all. tallies int32 [2, units, CHUNKS] of one launch are cleared by the
    other.
    """
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    word = chunk * WORDS + tl.arange(0, WORDS)
    if OVERLAP:
        if PILOT:
            # Whoever is launched from here on, the sample's draw among them, sees what went before the pilot's.
            gdc_wait()
            gdc_launch_dependents()
        else:
            gdc_launch_dependents()
    length = tl.load(lengths + unit // UNITS, cache_modifier=".cg")
    begin = tl.load(chosen_counts + unit, cache_modifier=".cg")
    key = tl.load(seed, cache_modifier=".cg")
    marks += unit.to(tl.int64) * words
    ids += unit.to(tl.int64) * room
    log_prob += unit.to(tl.int64) * room
    if PILOT:
        chosen += unit.to(tl.int64) * wanted
        mark(chosen, marks, begin, chunk, WORDS, LISTED)
    none = word * 0
    low = (none, none, none, none)
    middle = low
    high = low
    # As a loop, whose trips the compiler does not know, it is shorter, and stays before the wait. None is handed on to
    # another: Triton takes a variable for unchanged by a loop if one trip leaves it the very value that it began with.
    for call in range(calls):
        found = planes(key, word, unit, call)
        low = where(call == 0, found, low)
        middle = where(call == 1, found, middle)
        high = where(call == 2, found, high)

    mine = tallies + unit * CHUNKS
    others = mine + tl.num_programs(1) * CHUNKS
    if PILOT:
        left = length - begin
        tried = tl.maximum((left.to(tl.int64) * share) >> 16, least)
        end = share_of(tried, left)
        if chunk == 0:
            tl.store(ends + 2 * unit, end)
        drawn = below(low, middle, high, end)
        # What the block has marked, all of its threads see from here on.
        tl.debug_barrier()
    else:
        if OVERLAP:
            gdc_wait()
        mine, others = others, mine
        begin += tl.load(pilot_counts + unit)
        drawn = below(low, middle, high, tl.load(ends + 2 * unit + 1))
        drawn = drawn & ~below(low, middle, high, tl.load(ends + 2 * unit))
    tl.store(others + chunk, 0)

    here = word < words
    drawn = drawn & ~tl.load(marks + word, here, -1, cache_modifier=".cg")
    last = length - word * 32
    within = (tl.full((WORDS,), 1, tl.int32) << tl.minimum(tl.maximum(last, 0), 31)) - 1
    drawn = drawn & tl.where(last >= 32, -1, within)

    numbers = popcount(drawn)
    total = tl.sum(numbers, axis=0)
    tl.atomic_xchg(mine + chunk, total + 1, sem="relaxed")
    # Until the others have told theirs there is time.
    if PILOT:
        copy(chosen, ids, log_prob, begin, chunk, CHUNKS, COPIED)
    else:
        # All threads have read theirs: the sum waited for each.
        tl.store(marks + word, tl.zeros((WORDS,), tl.int32), here)
    before = drawn_before(mine, chunk, CHUNKS, CHUNKS_PADDED)
    to = begin + before + tl.cumsum(numbers, axis=0) - numbers
    for _ in range(tl.max(numbers, axis=0)):
        live = (drawn != 0) & (to < room)
        tl.store(ids + to, word * 32 + popcount((drawn & -drawn) - 1), live)
        if PILOT:
            tl.store(log_prob + to, tl.zeros((WORDS,), tl.float32), live)
        drawn = drawn & (drawn - 1)
        to += 1
    if chunk == CHUNKS - 1:
        listed = begin + before + total
        if PILOT:
            tl.store(pilot_counts + unit, tl.minimum(listed, room) - begin)
        else:
            tl.store(counts + unit, tl.minimum(listed, room))
            if listed > room:
                tl.store(short + unit, 1)
