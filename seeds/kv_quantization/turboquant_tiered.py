"""TurboQuant by distance: the nearer a token, the more bits (generic recipe, no single source, over arXiv:2504.19874).

Recent tokens get most of the attention, so what is old can be coarse: 16 bits for the first SINKS tokens and for age
below w / 16, 8 below w / 4, 2 b below w, b for the rest (never more than 8 where it is not 16). A token that ages would
be quantised again from its stored code, only ever downward; here the prompt is quantised once, at its end.

b is the most that fits the cap at all and w = share * n the widest window that then does, with every norm counted, so
that the mean meets the cap. What a token gets depends on its age alone, which both sides know: no byte says it.
"""

import itertools
import math

import torch

PUBLISHED = "none: a generic recipe"
SINKS = 4
SETTINGS = tuple((bits, share / 64) for bits in (8, 7, 6, 5, 4, 3, 2, 1) for share in range(64, -1, -2))


def encode(keys, values, age, shape, budget, rng):
    """Return packed codes and norms of each tier, and exact numbers of the highest."""
    given = allot(age, plan(shape, budget))
    spin, code = rotation(shape[2], rng), {}
    for bits in given.unique().tolist():
        levels = codebook(bits, shape[2]) if bits < 16 else None
        for name, x in ((f"k{bits}", keys[:, given == bits]), (f"v{bits}", values[:, given == bits])):
            if bits == 16:
                code[name] = half(x).flatten()
                continue
            unit, norm = rotate(x, spin)
            code |= {name: pack(nearest(unit, levels), bits), name + "norm": norm.flatten()}
    return code


def decode(code, age, shape, budget, rng):
    """Return keys and values, float32 [H, n, d]."""
    heads, n, d = shape
    given, spin = allot(age, plan(shape, budget)), rotation(d, rng)
    keys, values = torch.empty(2, heads, n, d)
    for bits in given.unique().tolist():
        place, m = given == bits, int((given == bits).sum())
        levels = codebook(bits, d) if bits < 16 else None
        for name, x in ((f"k{bits}", keys), (f"v{bits}", values)):
            if bits == 16:
                x[:, place] = code[name].view(heads, m, d).float()
                continue
            unit = levels[unpack(code[name], bits, heads * m * d)].view(heads, m, d)
            x[:, place] = unrotate(unit, code[name + "norm"].view(heads, m, 1), spin)
    return keys, values


def windows(n, setting):
    """Return (bits, age) by window, widest first: tokens of a lower age get these bits or more."""
    far, share = setting
    wide = int(share * n)
    return (far, n), (min(2 * far, 8), wide), (min(4 * far, 8), wide // 4), (16, wide // 16)


def allot(age, setting):
    """Return the bits of each token, int [n]."""
    given = torch.zeros_like(age)
    for bits, width in windows(len(age), setting):
        given[age < width] = bits
    return torch.where(age < len(age) - SINKS, given, 16)


def layout(shape, setting):
    """Return the bytes of each tensor of the code."""
    heads, n, d = shape
    rest = max(n - SINKS, 0)
    ends, counts = [*windows(n, setting), (0, 0)], {16: n - rest}
    for (bits, width), (_, narrower) in itertools.pairwise(ends):
        counts[bits] = counts.get(bits, 0) + min(width, rest) - min(narrower, rest)
    sizes = {str(bits): -(-heads * m * d // 8) * bits for bits, m in counts.items()}
    sizes |= {f"{bits}norm": 2 * heads * m for bits, m in counts.items() if bits < 16}
    sizes["16"] = 2 * heads * counts[16] * d
    return {name + part: size for name in "kv" for part, size in sizes.items() if size}


def rate(shape, setting):
    """Return mean bits per element of K and V: the bytes of `layout`, and 11 and the name for each tensor."""
    sizes = layout(shape, setting)
    return 8 * (2 + sum(11 + len(name) + size for name, size in sizes.items())) / (2 * math.prod(shape))


def plan(shape, budget):
    """Return the first of SETTINGS that fits the budget."""
    for setting in SETTINGS:
        if rate(shape, setting) <= budget.bits:
            return setting
    least = min(rate(shape, setting) for setting in SETTINGS)
    raise ValueError(
        f"no setting fits {budget.bits:g} bits per element at shape {list(shape)}; the leanest takes {least:.2f}"
    )


def rotation(width, rng):
    """Return a uniformly random orthogonal matrix [width, width]."""
    q, r = torch.linalg.qr(torch.randn(width, width, generator=rng))
    return q * r.diagonal().sign()


def rotate(x, spin):
    """Return the rotated unit vectors of x [..., d] and their norms, float16 [..., 1]."""
    norm = half(x.norm(dim=-1, keepdim=True))
    return x @ spin.T / x.norm(dim=-1, keepdim=True).clamp(min=1e-30), norm


def unrotate(unit, norm, spin):
    """Return vectors of these norms from rotated unit ones."""
    return unit @ spin * norm.float()


def codebook(bits, width):
    """Return the levels for one coordinate of a random unit vector of that width, [2 ** bits], in order."""
    t = (torch.arange(5000, dtype=torch.float64) + 0.5) / 2500 - 1
    return lloyd(t, (1 - t.square()) ** ((width - 3) / 2), bits).float()


def lloyd(x, weight, bits, rounds=10):
    """Return 2 ** bits levels for points x [m], in order, of these weights: one-dimensional k-means.

    It starts with levels as dense as the cube root of the weights, which is right for many, so that few rounds do.
    """
    start = weight.pow(1 / 3).cumsum(0)
    levels = x[torch.searchsorted(start, (torch.arange(2**bits) + 0.5) / 2**bits * start[-1]).clamp(max=len(x) - 1)]
    mass, moment = (torch.nn.functional.pad(each.cumsum(0), (1, 0)) for each in (weight, weight * x))
    ends = torch.tensor([0, len(x)], device=x.device)
    for _ in range(rounds):
        cuts = torch.cat([ends[:1], torch.searchsorted(x, (levels[1:] + levels[:-1]) / 2), ends[1:]])
        size = mass[cuts].diff()
        levels = torch.where(size > 0, moment[cuts].diff() / size.clamp(min=1e-300), levels)
    return levels.sort().values


def nearest(x, levels):
    """Return the code of the level nearest to each number of x, in [-1, 1], int64: by a table of fine cells."""
    cells = torch.bucketize(torch.linspace(-1, 1, 16_385, device=x.device), (levels[1:] + levels[:-1]) / 2)
    return cells[((x + 1) * 8192).round().long().clamp(0, 16_384)]


def half(x):
    """Return x in float16, cut to its range."""
    return x.clamp(-65504, 65504).half()


def pack(codes, bits):
    """Return integer codes below 2 ** bits in a flat uint8 tensor: eight codes fill `bits` bytes."""
    codes = torch.nn.functional.pad(codes.flatten().long(), (0, -codes.numel() % 8)).view(-1, 8)
    words = (codes << torch.arange(0, 8 * bits, bits, device=codes.device)).sum(dim=1)
    return words[:, None].view(torch.uint8)[:, :bits].flatten()


def unpack(packed, bits, count):
    """Return the first `count` codes of a packed tensor, int64 [count]."""
    words = torch.nn.functional.pad(packed.view(-1, bits), (0, 8 - bits)).view(torch.int64)
    return (words >> torch.arange(0, 8 * bits, bits, device=packed.device) & (2**bits - 1)).flatten()[:count]
