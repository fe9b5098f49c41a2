# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Two kernels that pick the pages whose keys can score highest: bound every page, then choose without a sort.

A bound is one product of the positive part of a query with the page's upper corner, and one of the negative part with
the lower. The threshold is built bit by bit from the top, each time counting the scores that reach it: 32 counts over
what one program holds in its registers.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.select.threshold_kernel import INTERPRETED, reached_by


@triton.jit
def bound(
    query,
    lower,
    upper,
    scores,
    pages,
    UNITS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_PADDED: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Scores float32 [units, pages]: the group's largest bound on q . k over a page's keys."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(1)
    page = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = tl.arange(0, GROUP_PADDED)
    column = tl.arange(0, WIDTH_PADDED)
    inside = column < WIDTH
    at = (unit * GROUP + row[:, None]) * WIDTH + column[None, :]
    q = tl.load(query + at, (row[:, None] < GROUP) & inside[None, :], 0.0)
    corner = unit.to(tl.int64) * pages * WIDTH + page[:, None] * WIDTH + column[None, :]
    held = (page[:, None] < pages) & inside[None, :]
    low = tl.load(lower + corner, held, 0.0)
    high = tl.load(upper + corner, held, 0.0)
    if INTERPRETED:  # which takes the bits of bfloat16 for integers
        q = q.to(tl.float32)
        low = low.to(tl.float32)
        high = high.to(tl.float32)
    zero = tl.zeros(q.shape, q.dtype)
    positive = tl.where(q > 0, q, zero)
    negative = tl.where(q > 0, zero, q)
    found = tl.dot(positive, tl.trans(high), input_precision="ieee")
    found += tl.dot(negative, tl.trans(low), input_precision="ieee")
    found = tl.max(tl.where(row[:, None] < GROUP, found, float("-inf")), axis=0)
    tl.store(scores + unit.to(tl.int64) * pages + page, found, page < pages)


@triton.jit
def choose(
    scores,
    lengths,
    ids,
    counts,
    pages,
    wanted,
    first,
    newest,
    UNITS: tl.constexpr,
    PAGE: tl.constexpr,
    PAGES_PADDED: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """The `wanted` pages of a unit with the highest scores, in order of place but for ties, the earliest among these.

    The `first` pages and the `newest`, of which the last may be part full, are always chosen.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    used = tl.cdiv(tl.load(lengths + unit // UNITS), PAGE)
    goal = tl.minimum(wanted, used)
    page = tl.arange(0, PAGES_PADDED)
    score = tl.load(scores + unit.to(tl.int64) * pages + page, page < used, 0.0)
    bits = score.to(tl.int32, bitcast=True)
    # Unsigned integers in the order of the floats; 0 for what is not there.
    order = (bits ^ ((bits >> 31) | -2147483648)).to(tl.uint32, bitcast=True)
    order = tl.where((page < first) | (page >= used - newest), 0xFFFFFFFF, order)
    order = tl.where(page < used, order, 0)
    threshold = reached_by(order, goal)
    above = (order > threshold) & (page < used)
    level = (order == threshold) & (page < used)
    ranks = tl.cumsum(above.to(tl.int32) + (level.to(tl.int32) << 16), axis=0)
    place_of = tl.where(above, ranks & 0xFFFF, tl.sum(above.to(tl.int32), axis=0) + (ranks >> 16)) - 1
    tl.store(ids + unit.to(tl.int64) * wanted + place_of, page, above | (level & (place_of < goal)))
    tl.store(counts + unit, goal)
