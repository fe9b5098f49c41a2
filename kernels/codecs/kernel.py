# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false
"""Dense decode over packed codes, a tile of tokens at a time, by one warp that waits for nobody.

A code's bits are set into the mantissa of a power of two, two codes at a time: that is the code plus the power, as a
float. A key's step belongs to a channel of the tile, so it goes to the query; a value's belongs to a token, so it goes
to the weight; zero points become one number for each row. What the powers add to keys is taken off by a product of the
powers alone with the same rounded queries, so that it is exact but for the rounding of d terms. From values they are
taken off at once, by one more instruction for two codes: tensor cores cut off what they add instead of rounding it, and
over thousands of tokens a sum of powers would lose more than the attention is worth (a relative error of .19 at 131,072
tokens of random values, on an H200).

Scores lie [tokens, rows] and sums [channels, rows]: tensor cores take 16 by 8 at a time, so that the few rows of a
group are filled up to 8 and not to 16.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.attend.merge_kernel import LOG2E, finish
from vevolve.kernels.codecs.fields import centre, centring, lift, mask, middle, power, setting, shifting, slot, surplus


@triton.jit
def words(codes, word, column, WIDTH: tl.constexpr, WIDTH_PADDED: tl.constexpr):
    """Packed codes, int16, of the shape that word and column broadcast to."""
    at = codes + word * WIDTH + column
    return tl.load(at) if WIDTH == WIDTH_PADDED else tl.load(at, column < WIDTH, 0)


@triton.jit
def blocks(numbers, HALVINGS: tl.constexpr):
    """A vector as a tuple of 2 ** HALVINGS equal blocks: one load ahead of time, and not many small ones in time."""
    pieces = (numbers,)
    for halving in tl.static_range(HALVINGS):
        finer = ()
        for piece in tl.static_range(1 << halving):
            pair = tl.trans(tl.reshape(pieces[piece], (2, numbers.shape[0] >> (halving + 1))))
            low, high = tl.split(pair)
            finer = finer + (low, high)  # noqa: RUF005 (Triton knows no starred tuples)
        pieces = finer
    return pieces


@triton.jit
def numbers(
    words,
    place: tl.constexpr,
    FIELD: tl.constexpr,
    KIND: tl.constexpr,
    MANTISSA: tl.constexpr,
    BIAS: tl.constexpr,
    PAIRED: tl.constexpr,
    CENTRED: tl.constexpr,
):
    """The FIELD bits at a place of words as floats: as they are where MANTISSA is 0, less the half of all there can be
    where CENTRED, else increased by a power of two.

    Halves of a register are worked on together where PAIRED; the compiler would take them apart.
    """
    if MANTISSA == 0:
        found = ((words >> place) & ((1 << FIELD) - 1)).to(KIND)
    else:
        at: tl.constexpr = slot(place, MANTISSA, FIELD)
        found = words
        if PAIRED:
            if place > at:
                found = tl.inline_asm_elementwise(shifting(place - at), "=r,r", [found], tl.int16, is_pure=True, pack=2)
            set_in: tl.constexpr = setting(at, MANTISSA, BIAS, FIELD)
            found = tl.inline_asm_elementwise(set_in, "=r,r", [found], tl.int16, is_pure=True, pack=2)
            if CENTRED:
                less: tl.constexpr = centring(at, MANTISSA, BIAS, FIELD)
                found = tl.inline_asm_elementwise(less, "=r,r", [found], tl.int16, is_pure=True, pack=2)
            found = found.to(KIND, bitcast=True)
        else:
            found = ((words >> (place - at)) & mask(at, FIELD)) | power(at, MANTISSA, BIAS)
            found = found.to(KIND, bitcast=True)
            if CENTRED:
                found = (found.to(tl.float32) - surplus(at, MANTISSA, FIELD)).to(KIND)
    return found


@triton.jit
def decline(scores, top, COUNT: tl.constexpr):
    """The new maxima of rows after a tuple of scores [tokens, rows], and what fades sums under the old ones."""
    highest = scores[0]
    for block in tl.static_range(1, COUNT):
        highest = tl.maximum(highest, scores[block])
    higher = tl.maximum(top, tl.max(highest, axis=0))
    return higher, tl.exp2(top - higher)


@triton.jit
def score_tile(
    q,
    factor,
    codes,
    scales,
    column,
    WIDTH: tl.constexpr,
    BITS: tl.constexpr,
    TILE: tl.constexpr,
    CHUNK: tl.constexpr,
    FIELD: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    MANTISSA: tl.constexpr,
    BIAS: tl.constexpr,
    PAIRED: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    ROWS_PADDED: tl.constexpr,
):
    """Scores of a tile by queries [d, rows], times factor: a tuple of [CHUNK, rows], parts within chunks."""
    step = tl.load(scales + column, column < WIDTH, 0.0).to(tl.float32) * factor
    zero = tl.load(scales + WIDTH + column, column < WIDTH, 0.0).to(tl.float32) * factor
    # Rounded on a GPU. The interpreter, which would cut bfloat16 off, does not round.
    scaled = (q.to(tl.float32) * step[:, None]).to(DOT)
    base = tl.sum(q.to(tl.float32) * (zero + middle(BITS, MANTISSA) * step)[:, None], axis=0)[None, :] + tl.zeros(
        (CHUNK, ROWS_PADDED), tl.float32
    )
    scores = ()
    for chunk in tl.static_range(TILE * BITS // 16 // CHUNK):
        word = chunk * CHUNK + tl.arange(0, CHUNK)
        keys = words(codes, word[:, None], column[None, :], WIDTH, WIDTH_PADDED)
        for part in tl.static_range(16 // BITS):
            score = base
            if MANTISSA:
                lifted = tl.full((CHUNK, WIDTH_PADDED), -lift(part, BITS, MANTISSA, FIELD), DOT)
                score = tl.dot(lifted, scaled, score, input_precision=PRECISION)
            for digit in tl.static_range(BITS // FIELD):
                found = numbers(keys, BITS * part + FIELD * digit, FIELD, KIND, MANTISSA, BIAS, PAIRED, False)
                worth = scaled * (1 << (FIELD * digit))
                score = tl.dot(found.to(DOT), worth, score, input_precision=PRECISION)
            scores = scores + (score,)  # noqa: RUF005 (as above)
    return scores


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
    CHUNK: tl.constexpr,
    HALVINGS: tl.constexpr,
    FIELD: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    MANTISSA: tl.constexpr,
    BIAS: tl.constexpr,
    PAIRED: tl.constexpr,
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
    PARTS: tl.constexpr = 16 // BITS
    split = tl.program_id(0)
    unit = tl.program_id(1)
    used = tl.load(lengths + unit // UNITS) // TILE
    share = tl.cdiv(used, splits)
    first = split * share
    last = tl.minimum(first + share, used)
    column = tl.arange(0, WIDTH_PADDED)
    row = tl.arange(0, ROWS_PADDED)
    inside = (column[:, None] < WIDTH) & (row[None, :] < ROWS)
    q = tl.load(query + (unit * ROWS + row[None, :]) * WIDTH + column[:, None], inside, 0.0)

    top = tl.full((ROWS_PADDED,), float("-inf"), tl.float32)
    masses = tl.zeros((CHUNK, ROWS_PADDED), tl.float32)
    offsets = tl.zeros((CHUNK, ROWS_PADDED), tl.float32)
    held = tl.zeros((WIDTH_PADDED, ROWS_PADDED), tl.float32)
    for tile in tl.range(first, last, num_stages=STAGES):
        place = unit.to(tl.int64) * tiles + tile
        scores = score_tile(
            q,
            scale * LOG2E,
            key_codes + place * (WORDS * WIDTH),
            key_scales + place * (2 * WIDTH),
            column,
            WIDTH,
            BITS,
            TILE,
            CHUNK,
            FIELD,
            KIND,
            DOT,
            MANTISSA,
            BIAS,
            PAIRED,
            PRECISION,
            WIDTH_PADDED,
            ROWS_PADDED,
        )
        top, fade = decline(scores, top, TILE // CHUNK)
        masses *= fade[None, :]
        offsets *= fade[None, :]
        held *= fade[None, :]
        token = place * (2 * TILE) + tl.arange(0, TILE)
        steps = blocks(tl.load(value_scales + token), HALVINGS)
        zeros = blocks(tl.load(value_scales + token + TILE), HALVINGS)
        for chunk in tl.static_range(WORDS // CHUNK):
            word = chunk * CHUNK + tl.arange(0, CHUNK)
            at = value_codes + place * (WORDS * WIDTH)
            values = words(at, word[None, :], column[:, None], WIDTH, WIDTH_PADDED)
            for part in tl.static_range(PARTS):
                step = steps[part * (WORDS // CHUNK) + chunk].to(tl.float32)
                zero = zeros[part * (WORDS // CHUNK) + chunk].to(tl.float32)
                weight = tl.exp2(scores[chunk * PARTS + part] - top[None, :])
                stepped = (weight * step[:, None]).to(DOT)
                masses += weight
                offsets += weight * (zero + centre(BITS, MANTISSA, FIELD) * step)[:, None]
                for digit in tl.static_range(BITS // FIELD):
                    found = numbers(values, BITS * part + FIELD * digit, FIELD, KIND, MANTISSA, BIAS, PAIRED, True)
                    worth = stepped * (1 << (FIELD * digit))
                    held = tl.dot(found.to(DOT), worth, held, input_precision=PRECISION)
    held += tl.sum(offsets, axis=0)[None, :]

    finish(
        top,
        tl.sum(masses, axis=0),
        tl.trans(held),
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
