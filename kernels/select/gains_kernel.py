# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false
"""Tables of gains: what a query says about each code of each part, in whole numbers from 0 to 32767."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import INTERPRETED

GAIN = tl.constexpr(32767)
PLANES_PADDED = tl.constexpr(16)


@triton.jit
def products(
    query,
    codebooks,
    unit,
    book,
    first,
    ROWS: tl.constexpr,
    GROUP: tl.constexpr,
    PARTS: tl.constexpr,
    ENTRIES: tl.constexpr,
    SPAN: tl.constexpr,
    SPAN_PADDED: tl.constexpr,
):
    """The inner products of the group's summed queries with centroids, float32 [ROWS, ENTRIES], of parts from `first`
    on.
    """
    place = tl.arange(0, SPAN_PADDED)
    row = tl.arange(0, ROWS * ENTRIES)
    inside = (row[:, None] >= 0) & (place < SPAN)[None, :]
    part = first + row // ENTRIES
    at = ((book * PARTS + first) * ENTRIES + row)[:, None] * SPAN + place[None, :]
    centroids = tl.load(codebooks + at, inside, 0.0).to(tl.float32)
    summed = tl.zeros((ROWS * ENTRIES, SPAN_PADDED), tl.float32)
    for head in tl.static_range(GROUP):
        at = ((unit * GROUP + head) * PARTS + part)[:, None] * SPAN + place[None, :]
        summed += tl.load(query + at, inside, 0.0).to(tl.float32)
    return tl.reshape(tl.sum(centroids * summed, axis=1), (ROWS, ENTRIES))


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
    ROWS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Tables int16 [units, PARTS, ENTRIES] of codebooks [H, ...], or [B, H, ...] where OWN, one step for all parts.

    Parts are taken ROWS at a time, which divides their number: all at once, or twice one after another.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    book = unit if OWN else unit % UNITS
    found = products(query, codebooks, unit, book, 0, ROWS, GROUP, PARTS, ENTRIES, SPAN, SPAN_PADDED)
    widest = tl.max(tl.max(found, axis=1) - tl.min(found, axis=1), axis=0)
    for first in range(ROWS, PARTS, ROWS):
        other = products(query, codebooks, unit, book, first, ROWS, GROUP, PARTS, ENTRIES, SPAN, SPAN_PADDED)
        widest = tl.maximum(widest, tl.max(tl.max(other, axis=1) - tl.min(other, axis=1), axis=0))
    factor = tl.where(widest > 0, GAIN / tl.maximum(widest, 1e-30), 0.0)
    at = tl.arange(0, ROWS)[:, None] * ENTRIES + tl.arange(0, ENTRIES)[None, :]
    for first in range(0, PARTS, ROWS):
        if ROWS < PARTS:
            found = products(query, codebooks, unit, book, first, ROWS, GROUP, PARTS, ENTRIES, SPAN, SPAN_PADDED)
        gain = ((found - tl.min(found, axis=1)[:, None]) * factor + 0.5).to(tl.int32)
        tl.store(tables + (unit * PARTS + first) * ENTRIES + at, tl.minimum(gain, GAIN).to(tl.int16))


@triton.jit
def shares(factors, GROUP_PADDED: tl.constexpr, ROWS: tl.constexpr, PLANES: tl.constexpr):
    """Products over the lower half of the planes and over the upper one, of 32 numbers that their bits can make.

    Args:
        factors: logarithms, float32 [16 * ROWS * 2], of each plane and row, where the bit is 0 and where it is 1.

    Returns:
        float32 [GROUP_PADDED * 2 * 32].
    """
    LOWER: tl.constexpr = PLANES // 2
    EACH: tl.constexpr = GROUP_PADDED * 64
    every = tl.arange(0, 8 * EACH)
    bit = every // EACH
    upper = every // 32 % 2
    plane = upper * LOWER + bit
    at = (plane * ROWS + every // 64 % GROUP_PADDED) * 2 + ((every % 32 >> bit) & 1)
    counts = bit < LOWER + upper * (PLANES - 2 * LOWER)
    found = tl.where(counts, tl.gather(factors, at, 0), 0.0)
    return tl.exp(tl.sum(tl.reshape(found, (8, EACH)), axis=0))


@triton.jit
def soft_tables(
    query,
    planes,
    tables,
    sharpness,
    factor,
    GROUP: tl.constexpr,
    GROUP_PADDED: tl.constexpr,
    PARTS: tl.constexpr,
    PLANES: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Tables int16 [units, PARTS, 2 ** PLANES]: the group's probabilities of each bucket of each hash table, summed.

    A bucket's probability is a product over its planes, sigmoid(sharpness * tanh(plane . q)) where its bit is 1 and the
    rest to 1 where it is 0: a product of one number for its lower bits and one for its upper bits, of 32 each where
    there are ten planes. The program of (table, unit) makes one table.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    LOWER: tl.constexpr = PLANES // 2
    ROWS: tl.constexpr = GROUP_PADDED if GROUP_PADDED > 16 else 16
    part = tl.program_id(0)
    unit = tl.program_id(1)
    row = tl.arange(0, ROWS)
    plane = tl.arange(0, PLANES_PADDED)
    column = tl.arange(0, WIDTH_PADDED)
    inside = column < WIDTH
    at = (part * PLANES + plane[:, None]) * WIDTH + column[None, :]
    normals = tl.load(planes + at, (plane[:, None] < PLANES) & inside[None, :], 0.0)
    at = (unit * GROUP + row[:, None]) * WIDTH + column[None, :]
    q = tl.load(query + at, (row[:, None] < GROUP) & inside[None, :], 0.0)
    if INTERPRETED:
        normals = normals.to(tl.float32)
        q = q.to(tl.float32)
    side = tl.dot(normals, tl.trans(q), input_precision="ieee")
    tilt = sharpness * (2 * tl.sigmoid(2 * side) - 1)
    # Logarithms of sigmoid(tilt) and of sigmoid(-tilt).
    both = tl.log(1 + tl.exp(-tl.abs(tilt)))
    yes = tl.minimum(tilt, 0.0) - both
    no = tl.minimum(-tilt, 0.0) - both
    factors = tl.reshape(tl.join(no, yes), (PLANES_PADDED * ROWS * 2,))
    half = shares(factors, GROUP_PADDED, ROWS, PLANES)
    every = tl.arange(0, GROUP_PADDED << PLANES)
    row = every >> PLANES
    lower = tl.gather(half, row * 64 + (every & ((1 << LOWER) - 1)), 0)
    upper = tl.gather(half, row * 64 + 32 + ((every & ((1 << PLANES) - 1)) >> LOWER), 0)
    share = tl.where(row < GROUP, lower * upper, 0.0)
    total = tl.sum(tl.reshape(share, (GROUP_PADDED, 1 << PLANES)), axis=0)
    gain = tl.minimum((total * factor + 0.5).to(tl.int32), GAIN)
    bucket = tl.arange(0, 1 << PLANES)
    tl.store(tables + (unit * PARTS + part) * (1 << PLANES) + bucket, gain.to(tl.int16))
