"""TurboQuant, MSE mode: a random rotation, then the best scalar quantiser (Zandieh et al. 2025, arXiv:2504.19874).

y = R x / |x| is uniform on the sphere whatever x is, so each coordinate has density ~ (1 - t^2)^((d - 3) / 2), and one
codebook of 2^b levels, by Lloyd's algorithm on that density, is the best for all. Decoded: |x| R^T levels[codes]. No
calibration. Squared error at most (sqrt(3) pi / 2) 4^-b of |x|^2; .363, .118, .0345 and .0095 for b = 1 to 4.

b + 16 / d bits per element; the paper leaves the norms out. R comes from rng, the same on both sides, for keys and
values of all heads. One public implementation takes the density of Beta(d / 2, d / 2), whose levels are .4 % short. The
paper's fractional rates split channels into two sets of unlike bits; here b is whole.
"""

import math

import torch

PUBLISHED = "LongBench, Llama-3.1-8B: 50.06 at 3.5 bits as at 16, 49.44 at 2.5 (arXiv:2504.19874, from memory)"
SETTINGS = (8, 7, 6, 5, 4, 3, 2, 1)


def encode(keys, values, shape, budget, rng):
    """Return packed codes and norms of keys and values."""
    bits, spin = plan(shape, budget), rotation(shape[2], rng)
    levels, code = codebook(bits, shape[2]), {}
    for name, x in (("k", keys), ("v", values)):
        unit, norm = rotate(x, spin)
        code |= {name: pack(nearest(unit, levels), bits), name + "norm": norm.flatten()}
    return code


def decode(code, shape, budget, rng):
    """Return keys and values, float32 [H, n, d]."""
    heads, n, d = shape
    bits, spin, found = plan(shape, budget), rotation(d, rng), []
    levels = codebook(bits, d)
    for name in "kv":
        unit = levels[unpack(code[name], bits, heads * n * d)].view(heads, n, d)
        found.append(unrotate(unit, code[name + "norm"].view(heads, n, 1), spin))
    return tuple(found)


def layout(shape, bits):
    """Return the bytes of each tensor of the code."""
    heads, n, d = shape
    return {
        name + part: size
        for name in "kv"
        for part, size in (("", -(-heads * n * d // 8) * bits), ("norm", 2 * heads * n))
    }


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
