# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""What every attention kernel shares: one step of a running softmax, and the end, at which a unit's splits are merged.

Scores are kept in base 2. Merging in the same launch saves the start of a second kernel, which costs as much as reading
10 MB.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def weigh(score, top):
    """Weights of scores [rows, tokens] below the new maxima, what fades sums under the old ones, the new maxima."""
    higher = tl.maximum(top, tl.max(score, axis=1))
    # A row without a token so far has no maximum to take off.
    base = tl.where(higher == float("-inf"), 0.0, higher)
    return tl.exp2(score - base[:, None]), tl.exp2(top - base), higher


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


@triton.jit
def finish(
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
    """Write out [units, ROWS, d] and lse [units, ROWS]: at once where there is one split, else by its last one."""
    if SPLITS_PADDED == 1:
        row = tl.arange(0, ROWS_PADDED)
        column = tl.arange(0, WIDTH_PADDED)
        inside = (row[:, None] < ROWS) & (column[None, :] < WIDTH)
        at = (unit * ROWS + row[:, None]) * WIDTH + column[None, :]
        tl.store(out + at, (held / mass[:, None]).to(out.dtype.element_ty), inside)
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


INTERPRETED = not isinstance(finish, triton.runtime.JITFunction)
"""Whether kernels run under Triton's interpreter, whose `dot` takes the bits of bfloat16 for integers: operands are
widened there."""
