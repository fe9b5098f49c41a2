# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""The kernel: one program for each (unit, split), the last one of a unit to arrive merges.

A unit is what shares one list of ids: a KV head with its ROWS = G query heads, or one query head (ROWS = 1).
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.attend.merge_kernel import LOG2E, finish, weigh


@triton.jit
def queries(
    query,
    unit,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS_PADDED: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """A unit's queries [ROWS_PADDED, WIDTH_PADDED], 0 beyond."""
    column = tl.arange(0, WIDTH_PADDED)
    row = tl.arange(0, ROWS_PADDED)
    inside = (row[:, None] < ROWS) & (column[None, :] < WIDTH)
    found = tl.load(query + (unit * ROWS + row[:, None]) * WIDTH + column[None, :], inside, 0.0)
    return found.to(tl.float32) if WIDEN else found


@triton.jit
def of_head(base, sequence, head, page_stride, head_stride, PAGED: tl.constexpr):
    """Where a head's rows begin in keys or values: a page's are found by the table, else a sequence is one page."""
    base += head.to(tl.int64) * head_stride
    return base if PAGED else base + sequence.to(tl.int64) * page_stride


@triton.jit
def listed_total(counts, unit, length, listed, GRAIN: tl.constexpr, DENSE: tl.constexpr, COUNTED: tl.constexpr):
    """Tokens that a unit attends to, padding among them."""
    if DENSE:
        return length
    if COUNTED:
        return tl.load(counts + unit) * GRAIN
    return listed * GRAIN


@triton.jit
def listed_tokens(ids, at, live, length, GRAIN: tl.constexpr, DENSE: tl.constexpr):
    """The token at each place of a unit's list, 0 where there is none, and where there is one."""
    if DENSE:
        return at, live
    chosen = tl.load(ids + at // GRAIN, live, -1)
    token = chosen * GRAIN + at % GRAIN
    live = live & (chosen >= 0) & (token < length)
    return tl.where(live, token, 0), live


@triton.jit
def offsets(table, token, live, k_page, k_slot, v_page, v_slot, PAGE: tl.constexpr, PAGED: tl.constexpr):
    """Where the rows of tokens begin, in keys and in values, from those of their head on."""
    if PAGED:
        page = tl.load(table + token // PAGE, live, 0).to(tl.int64)
        return page * k_page + (token % PAGE) * k_slot, page * v_page + (token % PAGE) * v_slot
    return token.to(tl.int64) * k_slot, token.to(tl.int64) * v_slot


@triton.jit
def rows(base, row, live, WIDTH: tl.constexpr, WIDTH_PADDED: tl.constexpr, WIDEN: tl.constexpr):
    """Rows [tokens, WIDTH_PADDED] of keys or values, 0 where there is no token."""
    column = tl.arange(0, WIDTH_PADDED)
    wanted = live[:, None]
    if WIDTH != WIDTH_PADDED:
        wanted = wanted & (column[None, :] < WIDTH)
    found = tl.load(base + row[:, None] + column[None, :], wanted, 0.0)
    return found.to(tl.float32) if WIDEN else found


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
    total = listed_total(counts, unit, length, listed, GRAIN, DENSE, COUNTED)
    share = tl.cdiv(total, splits)
    first = split * share
    last = tl.minimum(first + share, total)

    q = queries(query, unit, ROWS, WIDTH, ROWS_PADDED, WIDTH_PADDED, WIDEN)
    keys = of_head(keys, sequence, head, k_page, k_head, PAGED)
    values = of_head(values, sequence, head, v_page, v_head, PAGED)
    ids += unit.to(tl.int64) * listed
    log_prob += unit.to(tl.int64) * listed
    table += sequence.to(tl.int64) * table_stride

    top = tl.full((ROWS_PADDED,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS_PADDED,), tl.float32)
    held = tl.zeros((ROWS_PADDED, WIDTH_PADDED), tl.float32)
    for start in tl.range(first, last, BLOCK, num_stages=STAGES):
        at = start + tl.arange(0, BLOCK)
        live = at < last
        token, live = listed_tokens(ids, at, live, length, GRAIN, DENSE)
        k_row, v_row = offsets(table, token, live, k_page, k_slot, v_page, v_slot, PAGE, PAGED)
        k = rows(keys, k_row, live, WIDTH, WIDTH_PADDED, WIDEN)
        v = rows(values, v_row, live, WIDTH, WIDTH_PADDED, WIDEN)
        score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * LOG2E)
        if WEIGHTED:
            score -= tl.load(log_prob + at // GRAIN, live, 0.0)[None, :] * LOG2E
        score = tl.where(live[None, :], score, float("-inf"))
        weight, fade, top = weigh(score, top)
        mass = mass * fade + tl.sum(weight, axis=1)
        held = held * fade[:, None] + tl.dot(weight.to(v.dtype), v, input_precision=PRECISION)

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
