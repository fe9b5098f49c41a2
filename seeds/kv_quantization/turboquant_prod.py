"""TurboQuant, product mode: keys whose inner products are unbiased (Zandieh et al. 2025, arXiv:2504.19874).

The quantiser of least squared error shrinks inner products. So keys get b - 1 bits of it, and one bit a coordinate for
the residual r = y - levels[codes] of the rotated unit key (QJL, arXiv:2406.03482): sign(S r) and |r|, with S Gaussian,
d x d, independent of R. Decoded: y' = levels[codes] + sqrt(pi / 2) / d |r| S^T sign(S r), and E<q, k'> = <q, k> over S.
Variance of <q, k'> for unit vectors: pi / (2 d) times the squared error at b - 1 bits.

Keys take b + 32 / d bits per element (two norms), values b + 16 / d: a value is averaged, not multiplied with a query,
so values get b bits of the MSE mode. The paper states both modes and not which one its keys and values had. After the
softmax the added variance often costs more than the bias was worth.
"""

import math

import torch

PUBLISHED = "inner-product variance 1.57/.56/.18/.047 / d at 1 to 4 bits (arXiv:2504.19874, from memory)"
UNBIASED = True
SETTINGS = (8, 7, 6, 5, 4, 3, 2, 1)


def encode(keys, values, shape, budget, rng):
    """Return packed codes and norms of keys and values, and signs and lengths of the keys' residuals."""
    bits, d = plan(shape, budget), shape[2]
    spin, sketch = rotation(d, rng), projection(d, rng)
    fine, coarse = codebook(bits, d), codebook(bits - 1, d)
    unit, norm = rotate(values, spin)
    code = {"v": pack(nearest(unit, fine), bits), "vnorm": norm.flatten()}
    unit, norm = rotate(keys, spin)
    codes = nearest(unit, coarse)
    rest = unit - coarse[codes]
    code |= {"knorm": norm.flatten(), "rnorm": half(rest.norm(dim=-1)).flatten(), "r": pack(rest @ sketch.T > 0, 1)}
    return code | ({"k": pack(codes, bits - 1)} if bits > 1 else {})


def decode(code, shape, budget, rng):
    """Return keys and values, float32 [H, n, d]."""
    heads, n, d = shape
    bits, spin, sketch = plan(shape, budget), rotation(d, rng), projection(d, rng)
    unit = codebook(bits, d)[unpack(code["v"], bits, heads * n * d)].view(shape)
    values = unrotate(unit, code["vnorm"].view(heads, n, 1), spin)
    signs = 2.0 * unpack(code["r"], 1, heads * n * d).view(shape) - 1
    unit = math.sqrt(math.pi / 2) / d * code["rnorm"].float().view(heads, n, 1) * (signs @ sketch)
    if bits > 1:
        unit = unit + codebook(bits - 1, d)[unpack(code["k"], bits - 1, heads * n * d)].view(shape)
    return unrotate(unit, code["knorm"].view(heads, n, 1), spin), values


def layout(shape, bits):
    """Return the bytes of each tensor of the code; those that would be empty are left out."""
    heads, n, d = shape
    eights = -(-heads * n * d // 8)
    sizes = {"k": eights * (bits - 1), "r": eights, "v": eights * bits}
    sizes |= dict.fromkeys(("knorm", "rnorm", "vnorm"), 2 * heads * n)
    return {name: size for name, size in sizes.items() if size}


def projection(width, rng):
    """Return a Gaussian matrix [width, width], whose signs of products sketch a vector."""
    return torch.randn(width, width, generator=rng)


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
