# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""The kernel that attends to chosen tokens and pilot, and finds from the pilot how large the sample must be.

Chosen tokens and pilot are kept apart as lines of one matrix: line r of LINES = 2 ROWS_MERGED is what query head r
finds in the chosen tokens, line ROWS_MERGED + r in the pilot. So one product of matrices serves both.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.attend.kernel import of_head, offsets, rows
from vevolve.kernels.attend.merge_kernel import LOG2E, weigh
from vevolve.kernels.sample.residual_kernel import NUMBERS
from vevolve.kernels.select.threshold_kernel import INTERPRETED

UNBOUNDED = tl.constexpr(1e30)
"""Stands for a ratio to nothing: squared it is infinite, and no product with it is undefined."""


@triton.jit
def merged(
    stats,
    vectors,
    place,
    splits,
    WIDTH: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    LINES: tl.constexpr,
    MERGED: tl.constexpr,
):
    """Of all splits, from the first one's place on: tops, masses, squares, traces [LINES], and vectors."""
    line = tl.arange(0, LINES)
    column = tl.arange(0, WIDTH_PADDED)
    highest = tl.full((LINES,), float("-inf"), tl.float32)
    mass = tl.zeros((LINES,), tl.float32)
    squares = tl.zeros((LINES,), tl.float32)
    trace = tl.zeros((LINES,), tl.float32)
    vector = tl.zeros((LINES, WIDTH_PADDED), tl.float32)
    for start in range(0, splits, MERGED):
        some = start + tl.arange(0, MERGED)
        here = (line[:, None] >= 0) & (some[None, :] < splits)
        at = stats + (place + some)[None, :] * (4 * LINES) + line[:, None]
        tops = tl.load(at, here, float("-inf"), cache_modifier=".cg")
        masses = tl.load(at + LINES, here, 0.0, cache_modifier=".cg")
        squared = tl.load(at + 2 * LINES, here, 0.0, cache_modifier=".cg")
        traces = tl.load(at + 3 * LINES, here, 0.0, cache_modifier=".cg")
        parts = tl.load(
            vectors + ((place + some)[None, :] * LINES + line[:, None])[:, :, None] * WIDTH + column[None, None, :],
            here[:, :, None] & (column[None, None, :] < WIDTH),
            0.0,
            cache_modifier=".cg",
        )
        above = tl.maximum(highest, tl.max(tops, axis=1))
        origin = tl.where(above == float("-inf"), 0.0, above)
        factor = tl.exp2(tops - origin[:, None])
        fading = tl.exp2(highest - origin)
        mass = mass * fading + tl.sum(masses * factor, axis=1)
        squares = squares * (fading * fading) + tl.sum(squared * factor * factor, axis=1)
        trace = trace * (fading * fading) + tl.sum(traces * factor * factor, axis=1)
        vector = vector * fading[:, None] + tl.sum(parts * factor[:, :, None], axis=1)
        highest = above
    return highest, mass, squares, trace, vector


@triton.jit
def of_kind(lines, KIND: tl.constexpr, ROWS_MERGED: tl.constexpr):
    """Of [2 * ROWS_MERGED], the lines of the chosen tokens (0) or of the pilot (1)."""
    kind = tl.arange(0, 2)
    return tl.sum(tl.where((kind == KIND)[:, None], tl.reshape(lines, (2, ROWS_MERGED)), 0.0), axis=0)


@triton.jit
def vector_of_kind(lines, KIND: tl.constexpr, ROWS_MERGED: tl.constexpr, WIDTH_PADDED: tl.constexpr):
    """The same of [2 * ROWS_MERGED, WIDTH_PADDED]."""
    kind = tl.arange(0, 2)
    parts = tl.reshape(lines, (2, ROWS_MERGED, WIDTH_PADDED))
    return tl.sum(tl.where((kind == KIND)[:, None, None], parts, 0.0), axis=0)


@triton.jit
def required(
    mass,
    vector,
    pilot_mass,
    pilot_vector,
    squares,
    trace,
    residual,
    pilot,
    promises,
    ROWS: tl.constexpr,
    ROWS_MERGED: tl.constexpr,
    PROMISES: tl.constexpr,
    PROMISES_PADDED: tl.constexpr,
):
    """How many tokens of `left` the lemma asks for, so that a sum stays within tau of the truth but for the probability
    that z stands for: left / (1 + (tau / (z S))^2 / left). promises float32 [PROMISES, 2]: tau / z, as a share of the
    sum, of the numerator and of the denominator. The cheapest promise counts, and of the rows that share the sample the
    dearest. With no spread S none is needed; with no room for an error, all.
    """
    promise = tl.arange(0, PROMISES_PADDED)
    given = promise < PROMISES
    numerators = tl.load(promises + promise * 2, given, 0.0)
    denominators = tl.load(promises + promise * 2 + 1, given, 0.0)
    tried = tl.maximum(pilot, 1).to(tl.float32)
    left = residual - pilot.to(tl.float32)
    degrees = tl.maximum(tried - 1, 1.0)
    denominator = mass + residual * pilot_mass / tried
    numerator = vector + residual * pilot_vector / tried
    spread_d = tl.sqrt(tl.maximum(squares - pilot_mass * pilot_mass / tried, 0.0) / degrees)
    scatter = trace - tl.sum(pilot_vector * pilot_vector, axis=1) / tried
    spread_n = tl.sqrt(tl.maximum(scatter, 0.0) / degrees)
    size_n = tl.sqrt(tl.sum(numerator * numerator, axis=1))
    steady_n = tl.where(spread_n > 0, size_n / tl.where(spread_n > 0, spread_n, 1.0), UNBOUNDED)
    steady_d = tl.where(spread_d > 0, denominator / tl.where(spread_d > 0, spread_d, 1.0), UNBOUNDED)
    ratio = tl.minimum(numerators[None, :] * steady_n[:, None], denominators[None, :] * steady_d[:, None])
    widest = tl.max(ratio, axis=1)
    need = left / (1 + widest * widest / tl.maximum(left, 1.0))
    return tl.max(tl.where(tl.arange(0, ROWS_MERGED) < ROWS, need, 0.0), axis=0)


@triton.jit
def settle(need, residual, fixed, pilot, room, least, unit, ends, sizes, short):
    """Turn a need into the size aimed at, sizes int32 [units], and into the end of the interval of numbers."""
    left = residual - pilot.to(tl.float32)
    # One token has no variance.
    need = tl.where(pilot < 2, left, need)
    wanted = tl.minimum(tl.maximum(tl.ceil(need), tl.maximum(pilot, least).to(tl.float32)), left)
    tl.store(sizes + unit, wanted.to(tl.int32))
    # How many numbers fall into an interval varies; so that hardly ever fewer do than are needed, it is made wider.
    aim = tl.ceil(wanted + 3 * tl.sqrt(wanted * (1 - wanted / tl.maximum(left, 1.0))))
    # And so that hardly ever more do than there is room for.
    free = (room - fixed - pilot).to(tl.float32)
    most = tl.where(free < left, tl.maximum(tl.floor(free - 6 * tl.sqrt(tl.maximum(free, 0.0))), 0.0), left)
    begin = tl.load(ends + 2 * unit)
    beyond = NUMBERS - begin
    remaining = tl.maximum(left.to(tl.int64), 1)
    enough = (beyond * tl.minimum(aim, left).to(tl.int64) + remaining - 1) // remaining
    held = beyond * most.to(tl.int64) // remaining
    wide = tl.minimum(enough, held)
    tl.store(ends + 2 * unit + 1, begin + wide.to(tl.int32))
    fewer = (most < wanted) | (wide * remaining < wanted.to(tl.int64) * beyond)
    tl.store(short + unit, fewer.to(tl.int32))


@triton.jit(do_not_specialize=["splits", "slots", "room", "least"])
def measure(
    query,
    keys,
    values,
    ids,
    chosen_counts,
    pilot_counts,
    lengths,
    table,
    promises,
    stats,
    vectors,
    arrivals,
    ends,
    sizes,
    short,
    partial,
    partial_stats,
    concluded,
    scale,
    room,
    least,
    splits,
    slots,
    k_page,
    k_slot,
    k_head,
    v_page,
    v_slot,
    v_head,
    table_stride,
    UNITS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    PAGED: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    ROWS_MERGED: tl.constexpr,
    LINES_PADDED: tl.constexpr,
    PROMISES: tl.constexpr,
    PROMISES_PADDED: tl.constexpr,
    MERGED: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    WIDEN: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """What a split finds, with w = exp(score) below 2 ** top: stats float32 [units, splits, 4, LINES] of the top, and
    of sums of w, w ** 2 and w ** 2 |v| ** 2; vectors float32 [units, splits, LINES, WIDTH] of w v.

    The last split of a unit finds the sample's size, and leaves the attention to all that is kept for sure in the last
    of the `slots` of partial and partial_stats, whose counter of arrivals, concluded, it sets to 1.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    LINES: tl.constexpr = 2 * ROWS_MERGED
    split = tl.program_id(0)
    unit = tl.program_id(1)
    sequence = unit // UNITS
    head = unit % UNITS
    length = tl.load(lengths + sequence)
    chosen = tl.load(chosen_counts + unit)
    pilot = tl.load(pilot_counts + unit)
    share = tl.cdiv(chosen + pilot, splits)
    first = split * share
    last = tl.minimum(first + share, chosen + pilot)

    column = tl.arange(0, WIDTH_PADDED)
    line = tl.arange(0, LINES_PADDED)
    row = line % ROWS_MERGED
    of_pilot = line >= ROWS_MERGED
    inside = ((row < ROWS) & (line < LINES))[:, None] & (column[None, :] < WIDTH)
    q = tl.load(query + (unit * ROWS + row[:, None]) * WIDTH + column[None, :], inside, 0.0)
    if WIDEN:
        q = q.to(tl.float32)
    keys = of_head(keys, sequence, head, k_page, k_head, PAGED)
    values = of_head(values, sequence, head, v_page, v_head, PAGED)
    ids += unit.to(tl.int64) * room
    table += sequence.to(tl.int64) * table_stride

    # Sums over tokens are kept by column of a block until the end: only maxima are needed at once.
    top = tl.full((LINES_PADDED,), float("-inf"), tl.float32)
    mass = tl.zeros((LINES_PADDED, BLOCK), tl.float32)
    squares = tl.zeros((LINES_PADDED, BLOCK), tl.float32)
    traces = tl.zeros((LINES_PADDED, WIDTH_PADDED), tl.float32)
    held = tl.zeros((LINES_PADDED, WIDTH_PADDED), tl.float32)
    for start in tl.range(first, last, BLOCK, num_stages=STAGES):
        at = start + tl.arange(0, BLOCK)
        live = at < last
        token = tl.load(ids + at, live, -1)
        live = live & (token >= 0) & (token < length)
        token = tl.where(live, token, 0)
        k_row, v_row = offsets(table, token, live, k_page, k_slot, v_page, v_slot, PAGE, PAGED)
        k = rows(keys, k_row, live, WIDTH, WIDTH_PADDED, WIDEN)
        v = rows(values, v_row, live, WIDTH, WIDTH_PADDED, WIDEN)
        score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * LOG2E)
        meant = live[None, :] & ((at >= chosen)[None, :] == of_pilot[:, None])
        weight, fade, top = weigh(tl.where(meant, score, float("-inf")), top)
        mass = mass * fade[:, None] + weight
        squares = squares * (fade * fade)[:, None] + weight * weight
        part = weight.to(v.dtype)
        held = held * fade[:, None] + tl.dot(part, v, input_precision=PRECISION)
        if v.dtype == tl.float16:
            # Its range does not hold squares.
            part = part.to(tl.float32 if INTERPRETED else tl.bfloat16)
            v = v.to(tl.float32 if INTERPRETED else tl.bfloat16)
        traces = traces * (fade * fade)[:, None] + tl.dot(part * part, v * v, input_precision=PRECISION)

    written = line < LINES
    place = unit.to(tl.int64) * splits
    at = stats + (place + split) * (4 * LINES) + line
    tl.store(at, top, written)
    tl.store(at + LINES, tl.sum(mass, axis=1), written)
    tl.store(at + 2 * LINES, tl.sum(squares, axis=1), written)
    tl.store(at + 3 * LINES, tl.sum(traces, axis=1), written)
    spot = ((place + split) * LINES + line[:, None]) * WIDTH + column[None, :]
    tl.store(vectors + spot, held, written[:, None] & (column[None, :] < WIDTH))
    # All threads of the block have written before the one that signals does.
    tl.debug_barrier()
    arrived = tl.atomic_add(arrivals + unit, 1, sem="acq_rel")
    if arrived == splits - 1:
        tl.debug_barrier()
        tops, masses, squared, trace, vector = merged(stats, vectors, place, splits, WIDTH, WIDTH_PADDED, LINES, MERGED)
        highest = tl.max(tl.reshape(tops, (2, ROWS_MERGED)), axis=0)
        origin = tl.where(highest == float("-inf"), 0.0, highest)
        factor = tl.reshape(tl.exp2(tl.reshape(tops, (2, ROWS_MERGED)) - origin[None, :]), (LINES,))
        chosen_mass = of_kind(masses * factor, 0, ROWS_MERGED)
        chosen_vector = vector_of_kind(vector * factor[:, None], 0, ROWS_MERGED, WIDTH_PADDED)
        pilot_mass = of_kind(masses * factor, 1, ROWS_MERGED)
        pilot_vector = vector_of_kind(vector * factor[:, None], 1, ROWS_MERGED, WIDTH_PADDED)
        residual = (length - chosen).to(tl.float32)
        need = required(
            chosen_mass,
            chosen_vector,
            pilot_mass,
            pilot_vector,
            of_kind(squared * factor * factor, 1, ROWS_MERGED),
            of_kind(trace * factor * factor, 1, ROWS_MERGED),
            residual,
            pilot,
            promises,
            ROWS,
            ROWS_MERGED,
            PROMISES,
            PROMISES_PADDED,
        )
        settle(need, residual, chosen, pilot, room, least, unit, ends, sizes, short)
        each = tl.arange(0, ROWS_MERGED)
        kept = each < ROWS
        slot = unit.to(tl.int64) * slots + slots - 1
        tl.store(partial_stats + slot * (2 * ROWS) + each, highest, kept)
        tl.store(partial_stats + slot * (2 * ROWS) + ROWS + each, chosen_mass + pilot_mass, kept)
        to = (slot * ROWS + each[:, None]) * WIDTH + column[None, :]
        tl.store(partial + to, chosen_vector + pilot_vector, kept[:, None] & (column[None, :] < WIDTH))
        tl.store(concluded + unit, 1)
        # Ready for the next call, in a graph too.
        tl.store(arrivals + unit, 0)
