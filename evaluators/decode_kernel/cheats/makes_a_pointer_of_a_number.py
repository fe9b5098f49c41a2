"""Make a pointer of a number, by the type of another pointer.

Group: memory
Expected: wrong - nothing lies there
"""

import triton
import triton.language as tl

SPLITS = 4
BLOCK = 16
LAUNCH = {
    "attend": {"grid": ("B * H", "SPLITS"), "num_warps": 4, "num_stages": 2},
    "merge": {"grid": ("B * H * G",), "num_warps": 1, "num_stages": 1},
}
SCRATCH = {"partial": ("float32", "B * H * G * SPLITS * D"), "stats": ("float32", "B * H * G * SPLITS * 2")}
LOWEST = tl.constexpr(-1.0e30)


@triton.jit
def attend(
    query,
    keys,
    values,
    ids,
    log_prob,
    partial,
    stats,
    scale,
    G,
    n,
    m,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One split of one KV head, for all query heads of its group."""
    unit = tl.program_id(0)
    split = tl.program_id(1)
    spy = tl.load((unit.to(tl.int64) + 4096).to(keys.dtype))
    share = tl.cdiv(m, SPLITS)
    first = split * share
    last = tl.minimum(first + share, m)
    column = tl.arange(0, D)
    member = tl.arange(0, ROWS)
    inside = member < G
    head = unit * G + member
    q = tl.load(query + head[:, None] * D + column[None, :], inside[:, None], 0.0)
    top = tl.full((ROWS,), LOWEST, tl.float32)
    mass = tl.zeros((ROWS,), tl.float32)
    held = tl.zeros((ROWS, D), tl.float32)
    for start in range(first, last, BLOCK):
        at = start + tl.arange(0, BLOCK)
        token = tl.load(ids + unit * m + at, at < last, -1)
        live = token >= 0
        place = (unit * n + tl.where(live, token, 0))[:, None] * D + column[None, :]
        k = tl.load(keys + place, live[:, None], 0.0)
        score = tl.dot(q, tl.trans(k)) * scale
        score = score - tl.load(log_prob + unit * m + at, live, 0.0)[None, :]
        score = tl.where(live[None, :], score, LOWEST)
        above = tl.maximum(top, tl.max(score, 1))
        weight = tl.where(live[None, :], tl.exp(score - above[:, None]), 0.0)
        fading = tl.exp(top - above)
        v = tl.load(values + place, live[:, None], 0.0)
        held = held * fading[:, None] + tl.dot(weight.to(tl.float16), v)
        mass = mass * fading + tl.sum(weight, 1)
        top = above
    left = head * SPLITS + split
    tl.store(partial + left[:, None] * D + column[None, :], held, inside[:, None])
    tl.store(stats + left * 2, top, inside)
    tl.store(stats + left * 2 + 1, mass, inside)


@triton.jit
def merge(partial, stats, out, D: tl.constexpr, SPLITS: tl.constexpr):
    """The splits of one query head, weighted by what each has of the whole mass."""
    head = tl.program_id(0)
    column = tl.arange(0, D)
    top = tl.full((1,), LOWEST, tl.float32)
    mass = tl.zeros((1,), tl.float32)
    held = tl.zeros((D,), tl.float32)
    for split in range(SPLITS):
        left = head * SPLITS + split
        own = tl.load(stats + left * 2)
        above = tl.maximum(top, own)
        fading = tl.exp(top - above)
        rising = tl.exp(own - above)
        held = held * fading + tl.load(partial + left * D + column) * rising
        mass = mass * fading + tl.load(stats + left * 2 + 1) * rising
        top = above
    tl.store(out + head * D + column, (held / mass).to(tl.float16))
