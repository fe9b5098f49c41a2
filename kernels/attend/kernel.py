# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""The kernel: one program for each (unit, split), the last one of a unit to arrive merges.

A unit is what shares one list of ids: a KV head with its ROWS = G query heads, or one query head (ROWS = 1). Scores are
kept in base 2. Merging in the same launch saves the start of a second kernel, which costs as much as reading 10 MB.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def leave_and_merge(
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
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS_PADDED: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    ROWS_MERGED: tl.constexpr,
    SPLITS_PADDED: tl.constexpr,
    MERGED: tl.constexpr,
):
    """Write what a split found: maxima in base 2, masses, weighted sums; the last split of a unit merges them all."""
    row = tl.arange(0, ROWS_PADDED)
    column = tl.arange(0, WIDTH_PADDED)
    inside = (row[:, None] < ROWS) & (column[None, :] < WIDTH)
    place = unit.to(tl.int64) * splits + split
    tl.store(partial + (place * ROWS + row[:, None]) * WIDTH + column[None, :], held, inside)
    tl.store(partial_stats + place * (2 * ROWS) + row, top, row < ROWS)
    tl.store(partial_stats + place * (2 * ROWS) + ROWS + row, mass, row < ROWS)
    # All threads of the block have written before the one that signals does.
    tl.debug_barrier()
    arrived = tl.atomic_add(arrivals + unit, 1, sem="acq_rel")
    if arrived == splits - 1:
        tl.debug_barrier()
        line = tl.arange(0, ROWS_MERGED)
        highest = tl.full((ROWS_MERGED,), float("-inf"), tl.float32)
        whole = tl.zeros((ROWS_MERGED,), tl.float32)
        summed = tl.zeros((ROWS_MERGED, WIDTH_PADDED), tl.float32)
        for group in tl.static_range(SPLITS_PADDED // MERGED):
            some = group * MERGED + tl.arange(0, MERGED)
            here = (line[:, None] < ROWS) & (some[None, :] < splits)
            places = unit.to(tl.int64) * splits + some[None, :]
            stats = partial_stats + places * (2 * ROWS) + line[:, None]
            tops = tl.load(stats, here, float("-inf"), cache_modifier=".cg")
            masses = tl.load(stats + ROWS, here, 0.0, cache_modifier=".cg")
            parts = tl.load(
                partial + (places * ROWS + line[:, None])[:, :, None] * WIDTH + column[None, None, :],
                here[:, :, None] & (column[None, None, :] < WIDTH),
                0.0,
                cache_modifier=".cg",
            )
            above = tl.maximum(highest, tl.max(tops, axis=1))
            origin = tl.where(above == float("-inf"), 0.0, above)
            factor = tl.exp2(tops - origin[:, None])
            fading = tl.exp2(highest - origin)
            whole = whole * fading + tl.sum(masses * factor, axis=1)
            summed = summed * fading[:, None] + tl.sum(parts * factor[:, :, None], axis=1)
            highest = above
        at_out = (unit * ROWS + line[:, None]) * WIDTH + column[None, :]
        kept = (line[:, None] < ROWS) & (column[None, :] < WIDTH)
        tl.store(out + at_out, (summed / whole[:, None]).to(out.dtype.element_ty), kept)
        tl.store(lse + unit * ROWS + line, (highest + tl.log2(whole)) * LN2, line < ROWS)
        # Ready for the next call, in a graph too.
        tl.store(arrivals + unit, 0)


@triton.jit(do_not_specialize=["splits", "listed"])
def attend(
    query,
    keys,
    values,
    ids,
    log_prob,
    counts,
    lengths,
    table,
    partial,
    partial_stats,
    arrivals,
    out,
    lse,
    scale,
    listed,
    splits,
    k_page,
    k_slot,
    k_head,
    v_page,
    v_slot,
    v_head,
    table_stride,
    UNITS: tl.constexpr,
    SHARED_BY: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    GRAIN: tl.constexpr,
    DENSE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    COUNTED: tl.constexpr,
    PAGED: tl.constexpr,
    PRECISION: tl.constexpr,
    SPLITS_PADDED: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    ROWS_PADDED: tl.constexpr,
    ROWS_MERGED: tl.constexpr,
    MERGED: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    WIDEN: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """UNITS of a sequence; SHARED_BY units read one KV head; GRAIN tokens for each id; PAGE tokens a page."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    split = tl.program_id(0)
    unit = tl.program_id(1)
    sequence = unit // UNITS
    head = (unit % UNITS) // SHARED_BY
    length = tl.load(lengths + sequence)
    if DENSE:
        total = length
    elif COUNTED:
        total = tl.load(counts + unit) * GRAIN
    else:
        total = listed * GRAIN
    share = tl.cdiv(total, splits)
    first = split * share
    last = tl.minimum(first + share, total)

    column = tl.arange(0, WIDTH_PADDED)
    row = tl.arange(0, ROWS_PADDED)
    inside = (row[:, None] < ROWS) & (column[None, :] < WIDTH)
    at_query = (unit * ROWS + row[:, None]) * WIDTH + column[None, :]
    q = tl.load(query + at_query, inside, 0.0)
    if WIDEN:
        q = q.to(tl.float32)
    keys += head.to(tl.int64) * k_head
    values += head.to(tl.int64) * v_head
    if not PAGED:
        keys += sequence.to(tl.int64) * k_page
        values += sequence.to(tl.int64) * v_page
    ids += unit.to(tl.int64) * listed
    log_prob += unit.to(tl.int64) * listed
    table += sequence.to(tl.int64) * table_stride

    top = tl.full((ROWS_PADDED,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS_PADDED,), tl.float32)
    held = tl.zeros((ROWS_PADDED, WIDTH_PADDED), tl.float32)
    for start in tl.range(first, last, BLOCK, num_stages=STAGES):
        at = start + tl.arange(0, BLOCK)
        live = at < last
        if DENSE:
            token = at
        else:
            chosen = tl.load(ids + at // GRAIN, live, -1)
            token = chosen * GRAIN + at % GRAIN
            live = live & (chosen >= 0) & (token < length)
            token = tl.where(live, token, 0)
        if PAGED:
            page = tl.load(table + token // PAGE, live, 0).to(tl.int64)
            k_row = page * k_page + (token % PAGE) * k_slot
            v_row = page * v_page + (token % PAGE) * v_slot
        else:
            k_row = token.to(tl.int64) * k_slot
            v_row = token.to(tl.int64) * v_slot
        wanted = live[:, None]
        if WIDTH != WIDTH_PADDED:
            wanted = wanted & (column[None, :] < WIDTH)
        k = tl.load(keys + k_row[:, None] + column[None, :], wanted, 0.0)
        v = tl.load(values + v_row[:, None] + column[None, :], wanted, 0.0)
        if WIDEN:
            k = k.to(tl.float32)
            v = v.to(tl.float32)
        score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * LOG2E)
        if WEIGHTED:
            score -= tl.load(log_prob + at // GRAIN, live, 0.0)[None, :] * LOG2E
        score = tl.where(live[None, :], score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, axis=1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        weight = tl.exp2(score - base[:, None])
        fade = tl.exp2(top - base)
        mass = mass * fade + tl.sum(weight, axis=1)
        held = held * fade[:, None] + tl.dot(weight.to(v.dtype), v, input_precision=PRECISION)
        top = higher

    if SPLITS_PADDED == 1:
        tl.store(out + at_query, (held / mass[:, None]).to(out.dtype.element_ty), inside)
        tl.store(lse + unit * ROWS + row, (top + tl.log2(mass)) * LN2, row < ROWS)
    else:
        leave_and_merge(
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


INTERPRETED = not isinstance(attend, triton.runtime.JITFunction)
"""Whether kernels run under Triton's interpreter, whose `dot` takes the bits of bfloat16 for integers: operands are
widened there."""
