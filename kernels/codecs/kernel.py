# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Dense decode over packed codes, a tile of tokens at a time.

Codes are never scaled one by one. A key's scale belongs to a channel of the tile, so it goes to the query; a value's
belongs to a token, so it goes to the weight; zero points become one number for each row. What is left for a code is to
become a float: its bits are set into the mantissa of a power of two, and that power and the middle of all codes are
taken off, which is exact, so that sums do not have to cancel.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.attend.merge_kernel import LOG2E, finish, weigh


@triton.jit
def words(codes, tile, column, WORDS: tl.constexpr, WIDTH: tl.constexpr, WIDTH_PADDED: tl.constexpr):
    """The packed codes of a tile, int16 [WORDS, WIDTH_PADDED]."""
    at = codes + tile * (WORDS * WIDTH) + tl.arange(0, WORDS)[:, None] * WIDTH + column[None, :]
    return tl.load(at) if WIDTH == WIDTH_PADDED else tl.load(at, (column < WIDTH)[None, :], 0)


@triton.jit
def centred(
    words, part: tl.constexpr, BITS: tl.constexpr, KIND: tl.constexpr, PATTERN: tl.constexpr, CENTRE: tl.constexpr
):
    """The part-th codes of words as floats less CENTRE, in which PATTERN's power of two is counted, if it is not 0."""
    codes = (words >> (BITS * part)) & ((1 << BITS) - 1)
    found = codes.to(KIND) if PATTERN == 0 else (codes | PATTERN).to(KIND, bitcast=True)
    return (found - CENTRE).to(KIND)


@triton.jit(do_not_specialize=["splits"])
def attend(
    query,
    key_codes,
    key_scales,
    value_codes,
    value_scales,
    lengths,
    partial,
    partial_stats,
    arrivals,
    out,
    lse,
    scale,
    tiles,
    splits,
    UNITS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    BITS: tl.constexpr,
    TILE: tl.constexpr,
    KIND: tl.constexpr,
    PATTERN: tl.constexpr,
    CENTRE: tl.constexpr,
    PRECISION: tl.constexpr,
    SPLITS_PADDED: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    ROWS_PADDED: tl.constexpr,
    ROWS_MERGED: tl.constexpr,
    MERGED: tl.constexpr,
    STAGES: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Codes int16 [units, tiles, TILE * BITS / 16, d]: bits BITS * j of word t are token t + j * (words of a tile)."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    WORDS: tl.constexpr = TILE * BITS // 16
    MIDDLE: tl.constexpr = 1 << (BITS - 1)
    split = tl.program_id(0)
    unit = tl.program_id(1)
    used = tl.load(lengths + unit // UNITS) // TILE
    share = tl.cdiv(used, splits)
    first = split * share
    last = tl.minimum(first + share, used)
    column = tl.arange(0, WIDTH_PADDED)
    row = tl.arange(0, ROWS_PADDED)
    word = tl.arange(0, WORDS)
    inside = (row[:, None] < ROWS) & (column[None, :] < WIDTH)
    at_query = (unit * ROWS + row[:, None]) * WIDTH + column[None, :]
    q = tl.load(query + at_query, inside, 0.0).to(tl.float32) * (scale * LOG2E)
    held_columns = column < WIDTH

    top = tl.full((ROWS_PADDED,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS_PADDED,), tl.float32)
    offset = tl.zeros((ROWS_PADDED,), tl.float32)
    held = tl.zeros((ROWS_PADDED, WIDTH_PADDED), tl.float32)
    for tile in tl.range(first, last, num_stages=STAGES):
        place = unit.to(tl.int64) * tiles + tile
        keys = words(key_codes, place, column, WORDS, WIDTH, WIDTH_PADDED)
        values = words(value_codes, place, column, WORDS, WIDTH, WIDTH_PADDED)
        step = tl.load(key_scales + place * (2 * WIDTH) + column, held_columns, 0.0).to(tl.float32)
        zero = tl.load(key_scales + place * (2 * WIDTH) + WIDTH + column, held_columns, 0.0).to(tl.float32)
        scaled = (q * step[None, :]).to(KIND)
        base = tl.sum(q * (zero + MIDDLE * step)[None, :], axis=1)
        for part in tl.static_range(16 // BITS):
            numbers = centred(keys, part, BITS, KIND, PATTERN, CENTRE)
            score = tl.dot(scaled, tl.trans(numbers), input_precision=PRECISION) + base[:, None]
            at = place * (2 * TILE) + part * WORDS + word
            value_step = tl.load(value_scales + at).to(tl.float32)
            value_zero = tl.load(value_scales + at + TILE).to(tl.float32)
            weight, fade, top = weigh(score, top)
            stepped = (weight * value_step[None, :]).to(KIND)
            numbers = centred(values, part, BITS, KIND, PATTERN, CENTRE)
            held = held * fade[:, None] + tl.dot(stepped, numbers, input_precision=PRECISION)
            offset = offset * fade + tl.sum(weight * (value_zero + MIDDLE * value_step)[None, :], axis=1)
            mass = mass * fade + tl.sum(weight, axis=1)
    held += offset[:, None]

    finish(
        top,
        mass,
        held,
        partial,
        partial_stats,
        arrivals,
        out,
        lse,
        unit,
        split,
        splits,
        ROWS,
        WIDTH,
        ROWS_PADDED,
        WIDTH_PADDED,
        ROWS_MERGED,
        SPLITS_PADDED,
        MERGED,
    )
