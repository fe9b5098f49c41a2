# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
"""Two kernels that find the sample's size from a pilot: measure and size."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from vevolve.kernels.attend.kernel import of_head, offsets, queries, rows
from vevolve.kernels.attend.merge_kernel import LOG2E, weigh


@triton.jit(do_not_specialize=["splits"])
def measure(
    query,
    keys,
    values,
    ids,
    chosen_counts,
    pilot_counts,
    lengths,
    table,
    tops,
    sums,
    vectors,
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
    WIDTH_PADDED: tl.constexpr,
    ROWS_PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDEN: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """What a split finds in chosen tokens and the pilot, w = exp(score) below 2 ** tops float32 [units, splits, ROWS].

    sums float32 [units, splits, 4, ROWS]: of w over the chosen, and of w, w ** 2 and w ** 2 |v| ** 2 over the pilot;
    vectors float32 [units, splits, 2, ROWS, WIDTH]: of w v over the chosen, and over the pilot.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    split = tl.program_id(0)
    unit = tl.program_id(1)
    sequence = unit // UNITS
    head = unit % UNITS
    length = tl.load(lengths + sequence)
    chosen = tl.load(chosen_counts + unit)
    total = chosen + tl.load(pilot_counts + unit)
    share = tl.cdiv(total, splits)
    first = split * share
    last = tl.minimum(first + share, total)

    column = tl.arange(0, WIDTH_PADDED)
    row = tl.arange(0, ROWS_PADDED)
    inside = (row[:, None] < ROWS) & (column[None, :] < WIDTH)
    q = queries(query, unit, ROWS, WIDTH, ROWS_PADDED, WIDTH_PADDED, WIDEN)
    keys = of_head(keys, sequence, head, k_page, k_head, PAGED)
    values = of_head(values, sequence, head, v_page, v_head, PAGED)
    ids += unit.to(tl.int64) * room
    table += sequence.to(tl.int64) * table_stride

    top = tl.full((ROWS_PADDED,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS_PADDED,), tl.float32)
    held = tl.zeros((ROWS_PADDED, WIDTH_PADDED), tl.float32)
    pilot_mass = tl.zeros((ROWS_PADDED,), tl.float32)
    pilot_squares = tl.zeros((ROWS_PADDED,), tl.float32)
    pilot_lengths = tl.zeros((ROWS_PADDED,), tl.float32)
    pilot_held = tl.zeros((ROWS_PADDED, WIDTH_PADDED), tl.float32)
    for start in tl.range(first, last, BLOCK):
        at = start + tl.arange(0, BLOCK)
        live = at < last
        token = tl.load(ids + at, live, 0)
        live = live & (token >= 0) & (token < length)
        k_row, v_row = offsets(table, token, live, k_page, k_slot, v_page, v_slot, PAGE, PAGED)
        k = rows(keys, k_row, live, WIDTH, WIDTH_PADDED, WIDEN)
        v = rows(values, v_row, live, WIDTH, WIDTH_PADDED, WIDEN)
        score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * LOG2E)
        score = tl.where(live[None, :], score, float("-inf"))
        weight, fade, top = weigh(score, top)
        sure = tl.where((at < chosen)[None, :], weight, 0.0)
        tried = weight - sure
        wide = v.to(tl.float32)
        squares = tl.sum(wide * wide, axis=1)
        mass = mass * fade + tl.sum(sure, axis=1)
        pilot_mass = pilot_mass * fade + tl.sum(tried, axis=1)
        pilot_squares = pilot_squares * (fade * fade) + tl.sum(tried * tried, axis=1)
        pilot_lengths = pilot_lengths * (fade * fade) + tl.sum(tried * tried * squares[None, :], axis=1)
        held = held * fade[:, None] + tl.dot(sure.to(v.dtype), v, input_precision=PRECISION)
        pilot_held = pilot_held * fade[:, None] + tl.dot(tried.to(v.dtype), v, input_precision=PRECISION)

    here = row < ROWS
    at = unit.to(tl.int64) * splits + split
    tl.store(tops + at * ROWS + row, top, here)
    tl.store(sums + (at * 4) * ROWS + row, mass, here)
    tl.store(sums + (at * 4 + 1) * ROWS + row, pilot_mass, here)
    tl.store(sums + (at * 4 + 2) * ROWS + row, pilot_squares, here)
    tl.store(sums + (at * 4 + 3) * ROWS + row, pilot_lengths, here)
    spot = row[:, None] * WIDTH + column[None, :]
    tl.store(vectors + (at * 2) * (ROWS * WIDTH) + spot, held, inside)
    tl.store(vectors + (at * 2 + 1) * (ROWS * WIDTH) + spot, pilot_held, inside)


@triton.jit
def needed(spread, tau, z, left):
    """Tokens of `left` whose sum's error exceeds tau with the probability that z stands for: the lemma, for a finite
    population. With no spread none; with no room for an error, all.
    """
    reach = z * spread
    ratio = tau / tl.where(reach > 0, reach, 1.0)
    return tl.where(reach > 0, left / (1 + ratio * ratio / tl.maximum(left, 1.0)), 0.0)


@triton.jit
def size(
    tops,
    sums,
    vectors,
    chosen_counts,
    pilot_counts,
    lengths,
    promises,
    ends,
    sizes,
    short,
    room,
    least,
    splits,
    UNITS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    PROMISES: tl.constexpr,
    PROMISES_PADDED: tl.constexpr,
    SPLITS_PADDED: tl.constexpr,
    WIDTH_PADDED: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """How many tokens a unit's sample needs, sizes int32 [units], and where its interval of numbers ends.

    A promise of promises float32 [PROMISES, 4] is (epsilon and z of the numerator, epsilon and z of the
    denominator); the cheapest counts, and of the rows that share the sample the dearest. short int32 [units]: 1 where
    the list has no room for so many.
    """
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()
    unit = tl.program_id(0)
    split = tl.arange(0, SPLITS_PADDED)
    column = tl.arange(0, WIDTH_PADDED)
    promise = tl.arange(0, PROMISES_PADDED)
    given = promise < PROMISES
    epsilon_n = tl.load(promises + promise * 4, given, 0.0)
    z_n = tl.load(promises + promise * 4 + 1, given, 0.0)
    epsilon_d = tl.load(promises + promise * 4 + 2, given, 0.0)
    z_d = tl.load(promises + promise * 4 + 3, given, 0.0)
    fixed = tl.load(chosen_counts + unit)
    pilot = tl.load(pilot_counts + unit)
    residual = (tl.load(lengths + unit // UNITS) - fixed).to(tl.float32)
    left = residual - pilot.to(tl.float32)
    tried = tl.maximum(pilot, 1).to(tl.float32)
    at = unit.to(tl.int64) * splits + split
    held = split < splits
    within = held[:, None] & (column[None, :] < WIDTH)
    need = tl.zeros((), tl.float32)
    for row in range(ROWS):
        top = tl.load(tops + at * ROWS + row, held, float("-inf"))
        factor = tl.where(top == float("-inf"), 0.0, tl.exp2(top - tl.max(top, axis=0)))
        mass = tl.sum(tl.load(sums + (at * 4) * ROWS + row, held, 0.0) * factor, axis=0)
        pilot_mass = tl.sum(tl.load(sums + (at * 4 + 1) * ROWS + row, held, 0.0) * factor, axis=0)
        squares = tl.sum(tl.load(sums + (at * 4 + 2) * ROWS + row, held, 0.0) * factor * factor, axis=0)
        lengths_squared = tl.sum(tl.load(sums + (at * 4 + 3) * ROWS + row, held, 0.0) * factor * factor, axis=0)
        spot = (at * 2)[:, None] * (ROWS * WIDTH) + row * WIDTH + column[None, :]
        vector = tl.sum(tl.load(vectors + spot, within, 0.0) * factor[:, None], axis=0)
        pilot_vector = tl.sum(tl.load(vectors + spot + ROWS * WIDTH, within, 0.0) * factor[:, None], axis=0)
        denominator = mass + residual * pilot_mass / tried
        numerator = vector + residual * pilot_vector / tried
        degrees = tl.maximum(tried - 1, 1.0)
        spread_d = tl.sqrt(tl.maximum(squares - pilot_mass * pilot_mass / tried, 0.0) / degrees)
        scatter = lengths_squared - tl.sum(pilot_vector * pilot_vector, axis=0) / tried
        spread_n = tl.sqrt(tl.maximum(scatter, 0.0) / degrees)
        size_n = tl.sqrt(tl.sum(numerator * numerator, axis=0))
        of_n = tl.where(z_n > 0, needed(spread_n, epsilon_n * size_n, z_n, left), 0.0)
        of_d = tl.where(z_d > 0, needed(spread_d, epsilon_d * denominator, z_d, left), 0.0)
        cheapest = tl.min(tl.where(given, tl.maximum(of_n, of_d), float("inf")), axis=0)
        need = tl.maximum(need, cheapest)
    # One token has no variance.
    need = tl.where(pilot < 2, left, need)
    wanted = tl.minimum(tl.maximum(tl.ceil(need), tl.maximum(pilot, least).to(tl.float32)), left)
    tl.store(sizes + unit, wanted.to(tl.int32))
    # How many numbers fall into an interval varies; so that hardly ever fewer do than are needed, it is made wider.
    aim = tl.ceil(wanted + 3 * tl.sqrt(wanted * (1 - wanted / tl.maximum(left, 1.0))))
    # And so that hardly ever more do than there is room for.
    free = (room - fixed - pilot).to(tl.float32)
    most = tl.where(free < left, tl.maximum(tl.floor(free - 6 * tl.sqrt(tl.maximum(free, 0.0))), 0.0), left)
    tl.store(short + unit, (most < wanted).to(tl.int32))
    aim = tl.minimum(aim, most).to(tl.int64)
    begin = tl.load(ends + 2 * unit)
    whole = tl.full((), 1 << 32, tl.int64)
    remaining = left.to(tl.int64)
    end = begin + (whole - begin) * aim // tl.maximum(remaining, 1)
    tl.store(ends + 2 * unit + 1, tl.where(aim >= remaining, whole, end))
