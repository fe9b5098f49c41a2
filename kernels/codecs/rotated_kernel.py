# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Dense decode over codes of rotated vectors, a tile of tokens at a time, in rotated coordinates throughout.

A key's norm belongs to a token, so it goes to the score; a value's goes to the weight. What is left for a code is to
become its level: a look-up in a table of 2 ** BITS numbers, which stays in the nearest cache.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.attend.merge_kernel import LOG2E, finish, weigh
from vevolve.kernels.codecs.kernel import words


@triton.jit
def looked_up(found, part, levels, BITS: tl.constexpr, KIND: tl.constexpr):
    """The levels of the part-th codes of words, in the shape of the words."""
    code = (found >> (BITS * part)) & ((1 << BITS) - 1)
    return tl.load(levels + code.to(tl.int32)).to(KIND)


@triton.jit(do_not_specialize=["splits"])
def attend(
    query,
    key_codes,
    key_norms,
    value_codes,
    value_norms,
    levels,
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
    PRECISION: tl.constexpr,
    SPLITS_PADDED: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    ROWS_PADDED: tl.constexpr,
    ROWS_MERGED: tl.constexpr,
    MERGED: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Codes int16 [units, tiles, TILE * BITS / 16, d]: bits BITS * j of word t are token t + j * (words of a tile)."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    WORDS: tl.constexpr = TILE * BITS // 16
    split = tl.program_id(0)
    unit = tl.program_id(1)
    used = tl.load(lengths + unit // UNITS)
    share = tl.cdiv(tl.cdiv(used, TILE), splits)
    first = split * share
    last = tl.minimum(first + share, tl.cdiv(used, TILE))
    column = tl.arange(0, WIDTH_PADDED)
    row = tl.arange(0, ROWS_PADDED)
    word = tl.arange(0, WORDS)
    inside = (row[:, None] < ROWS) & (column[None, :] < WIDTH)
    q = tl.load(query + (unit * ROWS + row[:, None]) * WIDTH + column[None, :], inside, 0.0).to(KIND)

    top = tl.full((ROWS_PADDED,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS_PADDED,), tl.float32)
    held = tl.zeros((ROWS_PADDED, WIDTH_PADDED), tl.float32)
    for tile in range(first, last):
        at_tile = unit.to(tl.int64) * tiles + tile
        keys = words(key_codes + at_tile * (WORDS * WIDTH), word[:, None], column[None, :], WIDTH, WIDTH_PADDED)
        values = words(value_codes + at_tile * (WORDS * WIDTH), word[:, None], column[None, :], WIDTH, WIDTH_PADDED)
        for part in tl.range(16 // BITS, num_stages=1):  # fetching look-ups ahead would fill the shared memory
            token = part * WORDS + word
            live = tile * TILE + token < used
            key_norm = tl.load(key_norms + at_tile * TILE + token).to(tl.float32)
            value_norm = tl.load(value_norms + at_tile * TILE + token).to(tl.float32)
            numbers = looked_up(keys, part, levels, BITS, KIND)
            score = tl.dot(q, tl.trans(numbers), input_precision=PRECISION) * (key_norm * (scale * LOG2E))[None, :]
            score = tl.where(live[None, :], score, float("-inf"))
            weight, fade, top = weigh(score, top)
            mass = mass * fade + tl.sum(weight, axis=1)
            numbers = looked_up(values, part, levels, BITS, KIND)
            normed = (weight * value_norm[None, :]).to(KIND)
            held = held * fade[:, None] + tl.dot(normed, numbers, input_precision=PRECISION)
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
