# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false
"""Dense decode over codes of rotated vectors, in rotated coordinates throughout, by one warp that waits for nobody.

A key's norm belongs to a token, so it goes to the score; a value's goes to the weight. What is left for a code is to
become its level. Levels of 2 and 4 bits lie on a grid, step * (byte - zero), and `prmt` is a table of eight bytes: it
takes four of them by four selectors of 4 bits. A byte below a byte of zeros is, as float16, that many times 2 ** -24,
a subnormal number, which tensor cores take as it is; so nothing is converted. What `zero` takes off is a product of
its own, with the same rounded queries and weights. Levels of 8 bits, and all in float32, are loads from a table: one
for each code, which bounds them, and not their bytes.

Scores lie [tokens, rows] and sums [channels, rows], as over packed codes.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.attend.merge_kernel import LOG2E, finish
from vevolve.kernels.codecs.kernel import blocks, decline, words


@triton.constexpr_function
def looking_up(part, bits):
    """Instructions: in place of each of two words, $1, the levels of two of its codes, of which the part-th is one.

    They become the bytes of each half of $0. Four bytes of the table each are $2, $4, $6 and $8, the last eight of its
    16 bytes backwards, and $10 is all ones (a number of 32 bits is handed over once for each word). A selector is a
    code of 4 bits, or two of 2 bits, of which the table knows one. One whose highest bit is set takes a byte's sign
    eight times over instead of the byte, which is 0 in this table: so of either half of the table one answers, and the
    other gives 0. Sums and a product stand for logic: they are the work of another unit than all the rest.
    """
    turned = f"prmt.b32 p, $1, $1, {0x20 + 0x11 * (part * bits // 8):#x}; mad.lo.u32 q, p, $10, $10;"
    return f"{{ .reg .b32 p, q; {turned} prmt.b32 p, $2, $4, p; prmt.b32 q, $6, $8, q; add.u32 $0, p, q; }}"


@triton.constexpr_function
def taking(part, bits):
    """Instruction: the one of those two levels that is the part-th code's, below a byte of zeros."""
    return f"prmt.b32 $0, $1, 0, {0x4341 if part * bits % 8 > 3 else 0x4240:#x};"


@triton.constexpr_function
def owning():
    """Instructions: a number as it is. A thread's own bit is none of those below it, but the compiler does not know; it
    would keep a number that all threads share where only copies of it can be worked with, and copy it for each use."""
    return "{ .reg .b32 p, q; mov.u32 p, %lanemask_eq; mov.u32 q, %lanemask_lt; and.b32 p, p, q; or.b32 $0, $1, p; }"


@triton.jit
def kept(table, BITS: tl.constexpr, PAIRED: tl.constexpr):
    """The words of a table, int32 [1, 1] each: four for each code of a selector, and ones.

    Loads of the shape of a matrix: the compiler hands layouts of operands of products on to nothing else.
    """
    own: tl.constexpr = owning()
    found = ()
    for nth in tl.static_range(16 // BITS + 1):
        number = tl.load(table + nth + tl.zeros((1, 1), tl.int32))
        if PAIRED:
            number = tl.inline_asm_elementwise(own, "=r,r", [number], tl.int32, is_pure=True, pack=1)
        found = found + (number,)  # noqa: RUF005 (Triton knows no starred tuples)
    return found


@triton.jit
def byte_of(words, part: tl.constexpr, table, BITS: tl.constexpr):
    """The levels of the part-th codes of words below bytes of zeros, in plain operations."""
    selector = (words.to(tl.int32) >> (BITS * part // 4 * 4)) & 15
    lower = tl.where(selector < 4, table[0], table[1])
    four = tl.where(selector < 8, lower, tl.where(selector < 12, table[3], table[2]))
    place = tl.where(selector < 8, selector, 15 - selector) & 3
    return ((four >> (8 * place)) & 0x7F).to(tl.int16)


@triton.jit
def numbers(
    words,
    part: tl.constexpr,
    levels,
    table,
    BITS: tl.constexpr,
    KIND: tl.constexpr,
    GRID: tl.constexpr,
    PAIRED: tl.constexpr,
):
    """The levels of the part-th codes of words; where they lie on a grid, bytes of its table, as multiples of 2 ** -24.

    Halves of a register are worked on together where PAIRED; the compiler would take them apart.
    """
    if not GRID:
        code = (words.to(tl.int32) >> (BITS * part)) & ((1 << BITS) - 1)
        found = tl.load(levels + code).to(KIND)
    else:
        four: tl.constexpr = BITS * part % 4 // BITS * 4
        own = (table[four], table[four + 1], table[four + 2], table[four + 3])
    if GRID and PAIRED:
        both: tl.constexpr = looking_up(part, BITS)
        given = [words, own[0], own[1], own[2], own[3], table[16 // BITS]]
        found = tl.inline_asm_elementwise(both, "=r,r,r,r,r,r,r,r,r,r,r,r", given, tl.int16, is_pure=True, pack=2)
        one: tl.constexpr = taking(part, BITS)
        found = tl.inline_asm_elementwise(one, "=r,r", [found], tl.int16, is_pure=True, pack=2)
        found = found.to(KIND, bitcast=True)
    elif GRID:
        found = byte_of(words, part, own, BITS).to(KIND, bitcast=True)
    return found


@triton.jit(do_not_specialize=["splits"])
def attend(
    query,
    key_codes,
    key_norms,
    value_codes,
    value_norms,
    levels,
    table,
    zero,
    unit_of_grid,
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
    KIND: tl.constexpr,
    GRID: tl.constexpr,
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
    """Codes int16 [units, tiles, TILE * BITS / 16, d]: bits BITS * j of word t are token t + j * (words of a tile).

    `zero` is of the grid, if there is one, and `unit_of_grid` is what 1 of what is looked up is worth.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    WORDS: tl.constexpr = TILE * BITS // 16
    PARTS: tl.constexpr = 16 // BITS
    split = tl.program_id(0)
    unit = tl.program_id(1)
    used = tl.load(lengths + unit // UNITS)
    share = tl.cdiv(tl.cdiv(used, TILE), splits)
    first = split * share
    last = tl.minimum(first + share, tl.cdiv(used, TILE))
    column = tl.arange(0, WIDTH_PADDED)
    row = tl.arange(0, ROWS_PADDED)
    inside = (column[:, None] < WIDTH) & (row[None, :] < ROWS)
    q = tl.load(query + (unit * ROWS + row[None, :]) * WIDTH + column[:, None], inside, 0.0)
    fours = ()
    if GRID:
        fours = kept(table, BITS, PAIRED)
    base = tl.zeros((CHUNK, ROWS_PADDED), tl.float32)
    if GRID:
        base = tl.dot((tl.zeros((CHUNK, WIDTH_PADDED), tl.float32) - zero).to(KIND), q, base)
    factor = scale * LOG2E * unit_of_grid

    top = tl.full((ROWS_PADDED,), float("-inf"), tl.float32)
    masses = tl.zeros((CHUNK, ROWS_PADDED), tl.float32)
    lifts = tl.zeros((16, ROWS_PADDED), tl.float32)
    held = tl.zeros((WIDTH_PADDED, ROWS_PADDED), tl.float32)
    for tile in tl.range(first, last, num_stages=STAGES):
        place = unit.to(tl.int64) * tiles + tile
        token = place * TILE + tl.arange(0, TILE)
        norms = blocks(tl.load(key_norms + token), HALVINGS)
        left = used - tile * TILE
        scores = ()
        for chunk in tl.static_range(WORDS // CHUNK):
            word = chunk * CHUNK + tl.arange(0, CHUNK)
            at = key_codes + place * (WORDS * WIDTH)
            keys = words(at, word[:, None], column[None, :], WIDTH, WIDTH_PADDED)
            for part in tl.static_range(PARTS):
                found = numbers(keys, part, levels, fours, BITS, KIND, GRID, PAIRED)
                norm = norms[part * (WORDS // CHUNK) + chunk].to(tl.float32) * factor
                beyond = tl.where(part * WORDS + word < left, 0.0, float("-inf"))
                score = tl.dot(found, q, base, input_precision=PRECISION)
                scores = scores + (score * norm[:, None] + beyond[:, None],)  # noqa: RUF005 (as above)
        top, fade = decline(scores, top, TILE // CHUNK)
        masses *= fade[None, :]
        # Tensor cores cut off what they add instead of rounding it: a tile's sums are short enough for that.
        lift = tl.zeros((16, ROWS_PADDED), tl.float32)
        some = tl.zeros((WIDTH_PADDED, ROWS_PADDED), tl.float32)
        norms = blocks(tl.load(value_norms + token), HALVINGS)
        for chunk in tl.static_range(WORDS // CHUNK):
            word = chunk * CHUNK + tl.arange(0, CHUNK)
            at = value_codes + place * (WORDS * WIDTH)
            values = words(at, word[None, :], column[:, None], WIDTH, WIDTH_PADDED)
            for part in tl.static_range(PARTS):
                found = numbers(values, part, levels, fours, BITS, KIND, GRID, PAIRED)
                norm = norms[part * (WORDS // CHUNK) + chunk].to(tl.float32)
                weight = tl.exp2(scores[chunk * PARTS + part] - top[None, :])
                normed = (weight * norm[:, None]).to(KIND)
                masses += weight
                if GRID:
                    lifted = (tl.zeros((16, CHUNK), tl.float32) - zero).to(KIND)
                    lift = tl.dot(lifted, normed, lift)
                some = tl.dot(found, normed, some, input_precision=PRECISION)
        lifts = lifts * fade[None, :] + lift
        held = held * fade[None, :] + some
    # All 16 rows of lifts are the same.
    held = (held + tl.max(lifts, axis=0)[None, :]) * unit_of_grid

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


@triton.jit
def turn(
    vectors,
    spin,
    out,
    count,
    along,
    across,
    WIDTH: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """out[r, j] = sum over i of vectors[r, i] spin[i * along + j * across], all of row length WIDTH."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inner = tl.arange(0, WIDTH_PADDED)
    whole = (inner[:, None] < WIDTH) & (column[None, :] < WIDTH)
    # Nobody writes the rotation.
    turning = tl.load(spin + inner[:, None] * along + column[None, :] * across, whole, 0.0)
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    inside = (row[:, None] < count) & (inner[None, :] < WIDTH)
    given = tl.load(vectors + row[:, None] * WIDTH + inner[None, :], inside, 0.0).to(tl.float32)
    turned = tl.dot(given, turning, input_precision=PRECISION)
    kept = (row[:, None] < count) & (column[None, :] < WIDTH)
    tl.store(out + row[:, None] * WIDTH + column[None, :], turned.to(out.dtype.element_ty), kept)
