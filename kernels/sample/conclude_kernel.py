# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""The kernel that attends to the sample, and adds what `measure` found in the tokens that are kept for sure."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.attend.kernel import of_head, offsets, queries, rows
from vevolve.kernels.attend.merge_kernel import LOG2E, leave_and_merge, weigh


@triton.jit(do_not_specialize=["splits", "room"])
def conclude(
    query,
    keys,
    values,
    ids,
    log_prob,
    chosen_counts,
    pilot_counts,
    counts,
    lengths,
    table,
    seed,
    partial,
    partial_stats,
    arrivals,
    out,
    lse,
    scale,
    room,
    splits,
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
    SLOTS_PADDED: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    ROWS_PADDED: tl.constexpr,
    ROWS_MERGED: tl.constexpr,
    MERGED: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    WIDEN: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Write out [units, ROWS, d] and lse [units, ROWS], the sample's log_prob, and the next call's seed.

    `splits` programs leave a slot each of partial and partial_stats; the one behind them is there, and has arrived. A
    token of the sample was drawn with the probability |sample| ÷ what the pilot left.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    split = tl.program_id(0)
    unit = tl.program_id(1)
    sequence = unit // UNITS
    head = unit % UNITS
    length = tl.load(lengths + sequence)
    sure = tl.load(chosen_counts + unit) + tl.load(pilot_counts + unit)
    end = tl.load(counts + unit)
    chance = tl.maximum(end - sure, 1).to(tl.float32) / tl.maximum(length - sure, 1).to(tl.float32)
    share = tl.cdiv(end - sure, splits)
    first = sure + split * share
    last = tl.minimum(first + share, end)
    if (split == 0) & (unit == 0):
        tl.store(seed, tl.load(seed) + 1)

    q = queries(query, unit, ROWS, WIDTH, ROWS_PADDED, WIDTH_PADDED, WIDEN)
    keys = of_head(keys, sequence, head, k_page, k_head, PAGED)
    values = of_head(values, sequence, head, v_page, v_head, PAGED)
    ids += unit.to(tl.int64) * room
    log_prob += unit.to(tl.int64) * room
    table += sequence.to(tl.int64) * table_stride

    top = tl.full((ROWS_PADDED,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS_PADDED, BLOCK), tl.float32)
    held = tl.zeros((ROWS_PADDED, WIDTH_PADDED), tl.float32)
    for start in tl.range(first, last, BLOCK, num_stages=STAGES):
        at = start + tl.arange(0, BLOCK)
        live = at < last
        token = tl.load(ids + at, live, 0)
        k_row, v_row = offsets(table, token, live, k_page, k_slot, v_page, v_slot, PAGE, PAGED)
        k = rows(keys, k_row, live, WIDTH, WIDTH_PADDED, WIDEN)
        v = rows(values, v_row, live, WIDTH, WIDTH_PADDED, WIDEN)
        score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * LOG2E)
        weight, fade, top = weigh(tl.where(live[None, :], score, float("-inf")), top)
        mass = mass * fade[:, None] + weight
        held = held * fade[:, None] + tl.dot(weight.to(v.dtype), v, input_precision=PRECISION)
        tl.store(log_prob + at, tl.zeros((BLOCK,), tl.float32) + tl.log(chance), live)

    leave_and_merge(
        top - tl.log2(chance),
        tl.sum(mass, axis=1),
        held,
        partial,
        partial_stats,
        arrivals,
        out,
        lse,
        unit,
        split,
        splits + 1,
        ROWS,
        WIDTH,
        ROWS_PADDED,
        WIDTH_PADDED,
        ROWS_MERGED,
        SLOTS_PADDED,
        MERGED,
    )
