"""Sparse decode attention, the plain way: one program for each query head and split, nothing shared.

A split walks over its share of the ids, a few at a time, with the running maximum of flash decoding (Dao et al. 2023),
and leaves its sum, maximum and mass in float32; a second launch merges. Query heads that share a KV head each read its
keys and values anew, and there are far more splits than this many tokens need: a start to be improved upon.
"""

import triton
import triton.language as tl

PUBLISHED = "none: a de-tuned kernel to evolve; kernels/attend is the tuned one, benchmarks/README.md its figures"
SPLITS = 16
BLOCK = 4
LAUNCH = {
    "attend": {"grid": ("B * H * G", "SPLITS"), "num_warps": 1, "num_stages": 1},
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
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One split of one query head."""
    head = tl.program_id(0)
    split = tl.program_id(1)
    row = head // G
    share = tl.cdiv(m, SPLITS)
    first = split * share
    last = tl.minimum(first + share, m)
    column = tl.arange(0, D)
    q = tl.load(query + head * D + column).to(tl.float32)
    top = LOWEST
    mass = 0.0
    held = tl.zeros((D,), tl.float32)
    for start in range(first, last, BLOCK):
        at = start + tl.arange(0, BLOCK)
        token = tl.load(ids + row * m + at, at < last, -1)
        live = token >= 0
        place = (row * n + tl.where(live, token, 0))[:, None] * D + column[None, :]
        k = tl.load(keys + place, live[:, None], 0.0).to(tl.float32)
        score = tl.sum(k * q[None, :], 1) * scale - tl.load(log_prob + row * m + at, live, 0.0)
        score = tl.where(live, score, LOWEST)
        above = tl.maximum(top, tl.max(score, 0))
        weight = tl.where(live, tl.exp(score - above), 0.0)
        fading = tl.exp(top - above)
        v = tl.load(values + place, live[:, None], 0.0).to(tl.float32)
        held = held * fading + tl.sum(v * weight[:, None], 0)
        mass = mass * fading + tl.sum(weight, 0)
        top = above
    unit = head * SPLITS + split
    tl.store(partial + unit * D + column, held)
    tl.store(stats + unit * 2, top)
    tl.store(stats + unit * 2 + 1, mass)


@triton.jit
def merge(partial, stats, out, D: tl.constexpr, SPLITS: tl.constexpr):
    """The splits of one query head, weighted by what each has of the whole mass."""
    head = tl.program_id(0)
    column = tl.arange(0, D)
    top = LOWEST
    mass = 0.0
    held = tl.zeros((D,), tl.float32)
    for split in range(SPLITS):
        unit = head * SPLITS + split
        own = tl.load(stats + unit * 2)
        above = tl.maximum(top, own)
        fading = tl.exp(top - above)
        rising = tl.exp(own - above)
        held = held * fading + tl.load(partial + unit * D + column) * rising
        mass = mass * fading + tl.load(stats + unit * 2 + 1) * rising
        top = above
    tl.store(out + head * D + column, (held / mass).to(tl.float16))
