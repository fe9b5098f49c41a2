# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Selection by sums of table entries: what a query's tables hold, and the passes that score all tokens by them.

A token has PARTS codes, each below ENTRIES, and a query a table of gains for each part. Gains are whole numbers from 0
to 32767, so that a token's sum does not depend on the order of adding, and what is chosen is a function of the tables
alone. Its distance is what the sum lacks to the greatest possible. Where tokens have norms, the sum is multiplied by
them in float32, and distances are taken between the bits of floats, which are in the order of the floats.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import cut_of, reached_by, sampled, tallied

GAIN = tl.constexpr(32767)
INFINITY = tl.constexpr(0x7F800000)
"""The bits of float32's infinity."""
DEVIATIONS = tl.constexpr(4.0)
"""How far the frame reaches around the sample's threshold."""
FINER = tl.constexpr(5)
"""Binary digits by which a pass narrows the frame: half of 62 bins, so that the cut's bin fits with room to spare."""


@triton.jit
def products(
    query,
    codebooks,
    unit,
    book,
    part,
    GROUP: tl.constexpr,
    PARTS: tl.constexpr,
    ENTRIES: tl.constexpr,
    SPAN: tl.constexpr,
    SPAN_PADDED: tl.constexpr,
):
    """The inner products of a part of the group's summed queries with its centroids, float32 [ENTRIES]."""
    place = tl.arange(0, SPAN_PADDED)
    entry = tl.arange(0, ENTRIES)
    inside = place < SPAN
    summed = tl.zeros((SPAN_PADDED,), tl.float32)
    for row in tl.static_range(GROUP):
        at = ((unit * GROUP + row) * PARTS + part) * SPAN + place
        summed += tl.load(query + at, inside, 0.0).to(tl.float32)
    at = ((book * PARTS + part) * ENTRIES + entry[:, None]) * SPAN + place[None, :]
    centroids = tl.load(codebooks + at, (entry[:, None] >= 0) & inside[None, :], 0.0).to(tl.float32)
    return tl.sum(centroids * summed[None, :], axis=1)


@triton.jit
def product_tables(
    query,
    codebooks,
    tables,
    UNITS: tl.constexpr,
    OWN: tl.constexpr,
    GROUP: tl.constexpr,
    PARTS: tl.constexpr,
    ENTRIES: tl.constexpr,
    SPAN: tl.constexpr,
    SPAN_PADDED: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Tables int16 [units, PARTS, ENTRIES] of codebooks [H, ...], or [B, H, ...] where OWN, one step for all parts."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    book = unit if OWN else unit % UNITS
    widest = tl.zeros((), tl.float32)
    for part in range(PARTS):
        found = products(query, codebooks, unit, book, part, GROUP, PARTS, ENTRIES, SPAN, SPAN_PADDED)
        widest = tl.maximum(widest, tl.max(found, axis=0) - tl.min(found, axis=0))
    factor = tl.where(widest > 0, GAIN / tl.maximum(widest, 1e-30), 0.0)
    entry = tl.arange(0, ENTRIES)
    for part in range(PARTS):
        found = products(query, codebooks, unit, book, part, GROUP, PARTS, ENTRIES, SPAN, SPAN_PADDED)
        gain = ((found - tl.min(found, axis=0)) * factor + 0.5).to(tl.int32)
        tl.store(tables + (unit * PARTS + part) * ENTRIES + entry, tl.minimum(gain, GAIN).to(tl.int16))


@triton.jit
def soft_tables(
    query,
    planes,
    tables,
    sharpness,
    factor,
    GROUP: tl.constexpr,
    PARTS: tl.constexpr,
    PLANES: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Tables int16 [units, PARTS, 2 ** PLANES]: the group's probabilities of each bucket of each hash table, summed.

    A bucket's probability is a product over its planes, sigmoid(sharpness * tanh(plane . q)) where its bit is 1 and the
    rest to 1 where it is 0. The program of (table, unit) makes one table.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    part = tl.program_id(0)
    unit = tl.program_id(1)
    bucket = tl.arange(0, 1 << PLANES)
    plane = tl.arange(0, 16)
    column = tl.arange(0, WIDTH_PADDED)
    inside = column < WIDTH
    at = (part * PLANES + plane[:, None]) * WIDTH + column[None, :]
    normals = tl.load(planes + at, (plane[:, None] < PLANES) & inside[None, :], 0.0).to(tl.float32)
    total = tl.zeros((1 << PLANES,), tl.float32)
    for row in range(GROUP):
        q = tl.load(query + (unit * GROUP + row) * WIDTH + column, inside, 0.0).to(tl.float32)
        side = tl.sum(normals * q[None, :], axis=1)
        one = tl.sigmoid(sharpness * (2 * tl.sigmoid(2 * side) - 1))
        share = tl.full((1 << PLANES,), 1.0, tl.float32)
        for bit in tl.static_range(PLANES):
            up = tl.sum(tl.where(plane == bit, one, 0.0), axis=0)
            share *= tl.where(((bucket >> bit) & 1) == 1, up, 1 - up)
        total += share
    gain = tl.minimum((total * factor + 0.5).to(tl.int32), GAIN)
    tl.store(tables + (unit * PARTS + part) * (1 << PLANES) + bucket, gain.to(tl.int16))


@triton.jit
def distance(
    codes,
    high,
    tables,
    norms,
    unit,
    token,
    here,
    capacity,
    PARTS: tl.constexpr,
    ENTRIES: tl.constexpr,
    PLANAR: tl.constexpr,
    HIGH: tl.constexpr,
    NORMED: tl.constexpr,
):
    """What tokens lack to the greatest possible score, int32, not below 0.

    Codes uint8 [units, capacity, PARTS], or [units, PARTS, capacity] where PLANAR; where HIGH, two more bits of each,
    of four parts in a byte, [units, PARTS / 4, capacity]. A code beyond ENTRIES counts modulo ENTRIES.
    """
    codes += unit.to(tl.int64) * capacity * PARTS
    high += unit.to(tl.int64) * capacity * (PARTS // 4)
    tables += unit * (PARTS * ENTRIES)
    total = tl.zeros(token.shape, tl.int32)
    for part in range(PARTS):
        at = part * capacity + token if PLANAR else token * PARTS + part
        code = tl.load(codes + at, here, 0).to(tl.int32)
        if HIGH:
            four = tl.load(high + (part // 4) * capacity + token, here, 0).to(tl.int32)
            code |= ((four >> (2 * (part % 4))) & 3) << 8
        total += tl.load(tables + part * ENTRIES + (code & (ENTRIES - 1)), here, 0).to(tl.int32)
    if NORMED:
        norm = tl.load(norms + unit.to(tl.int64) * capacity + token, here, 0.0).to(tl.float32)
        return INFINITY - (total.to(tl.float32) * norm).to(tl.int32, bitcast=True)
    return PARTS * GAIN - total


@triton.jit
def bracket(
    codes,
    high,
    tables,
    norms,
    lengths,
    frames,
    capacity,
    wanted,
    UNITS: tl.constexpr,
    PARTS: tl.constexpr,
    ENTRIES: tl.constexpr,
    PLANAR: tl.constexpr,
    HIGH: tl.constexpr,
    NORMED: tl.constexpr,
    SAMPLE: tl.constexpr,
    BINS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Frames around the threshold, from a sample: the distances of the ranks four standard deviations to each side."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    length = tl.load(lengths + unit // UNITS)
    place = sampled(length, SAMPLE)
    there = place < length
    found = distance(codes, high, tables, norms, unit, place, there, capacity, PARTS, ENTRIES, PLANAR, HIGH, NORMED)
    # The nearest first; 0 for what is not there.
    order = tl.where(there, 0xFFFFFFFF - found.to(tl.uint32), 0)
    drawn = tl.sum(there.to(tl.int32), axis=0)
    share = tl.minimum(wanted / length.to(tl.float32), 1.0)
    margin = DEVIATIONS * tl.sqrt(drawn * share * (1 - share)) + 1
    fewer = tl.floor(drawn * share - margin).to(tl.int32)
    more = tl.minimum(tl.ceil(drawn * share + margin).to(tl.int32), drawn)
    # Where so few are wanted that the sample may hold none of them, the frame begins at the greatest possible score.
    low = tl.where(fewer < 1, 0, 0xFFFFFFFF - reached_by(order, tl.maximum(fewer, 1)).to(tl.int64)).to(tl.int32)
    last = (0xFFFFFFFF - reached_by(order, more).to(tl.int64)).to(tl.int32)
    tl.store(frames + 2 * unit, low)
    tl.store(frames + 2 * unit + 1, width_for(last - low + 1, BINS))


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
    high,
    tables,
    norms,
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
    PLANAR: tl.constexpr,
    HIGH: tl.constexpr,
    NORMED: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
    BINS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Bins int8 [units, CHUNKS * CHUNK] of a chunk's tokens, BINS where there is none, and how many each bin holds."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    chunk = tl.program_id(0)
    unit = tl.program_id(1)
    at = chunk * CHUNK + tl.arange(0, CHUNK)
    length = tl.load(lengths + unit // UNITS)
    there = at < length
    low = tl.load(frames + 2 * unit)
    shift = tl.load(frames + 2 * unit + 1)
    found = distance(codes, high, tables, norms, unit, at, there, capacity, PARTS, ENTRIES, PLANAR, HIGH, NORMED)
    bin_of = tl.minimum(tl.maximum(((found - low) >> shift) + 1, 0), BINS - 1)
    bin_of = tl.where((at < sinks) | (at >= length - window), 0, bin_of)
    held = tl.histogram(bin_of, BINS, mask=there)
    tl.store(bins + unit.to(tl.int64) * (CHUNKS * CHUNK) + at, tl.where(there, bin_of, BINS).to(tl.int8))
    tl.store(tallies + (unit * BINS + tl.arange(0, BINS)) * CHUNKS + chunk, held)
