"""KVQuant: keys before RoPE, outliers apart, levels by k-means (Hooper et al. 2024, arXiv:2401.18079).

Keys are turned back before RoPE, where their large channels are steady, and quantised by channel; values by token, over
the channels of all heads. OUTLIERS of each row, half on either side, stay float16 with their places; the rest is scaled
to [-1, 1] and rounded to 2^b levels (NUQ), one set for K and one for V of the layer: 1-D k-means weighted by how much
an error matters. At 2 bits or fewer, levels are shifted and stretched so that mean and spread stay (Q-Norm). The first
token stays float16.

Not as in the paper: it finds the ranges of keys and all levels offline, on calibration text, and weights by Fisher
information, which needs gradients. Here both come from the prompt itself, are stored in the code and paid for, and the
weight is the squared range of the row, so that k-means minimises squared error in K and V. Outliers are a fixed number
a row, found by rank, where the paper has thresholds and sparse rows; they give way to the middle of the range, where it
takes the median. b + .4 bits
per element at 3 heads of 64.
"""

import math

import torch

PUBLISHED = "3 bits: less than .1 perplexity lost (arXiv:2401.18079)"
SETTINGS = (8, 7, 6, 5, 4, 3, 2, 1)
OUTLIERS = 0.01
FIRST = 1


def encode(keys, values, age, shape, budget, rope_base):
    """Return codes, ranges, levels and outliers of keys and values, and the first token."""
    bits, code = plan(shape, budget), {"first": half(torch.stack([keys[:, :FIRST], values[:, :FIRST]])).flatten()}
    if shape[1] > FIRST:
        keys = turn(keys, len(age) - 1 - age, rope_base, -1)[:, FIRST:]
        code |= {"k" + part: x for part, x in squeeze(keys.mT.flatten(0, 1), bits).items()}
        code |= {"v" + part: x for part, x in squeeze(values[:, FIRST:].transpose(0, 1).flatten(1), bits).items()}
    return code


def decode(code, age, shape, budget, rope_base):
    """Return keys and values, float32 [H, n, d]."""
    (heads, n, d), bits = shape, plan(shape, budget)
    first = code["first"].view(2, heads, -1, d).float()
    if n <= FIRST:
        return first[0], first[1]
    rest = n - FIRST
    keys = expand({name[1:]: x for name, x in code.items() if name[0] == "k"}, bits, heads * d, rest)
    values = expand({name[1:]: x for name, x in code.items() if name[0] == "v"}, bits, rest, heads * d)
    keys = turn(keys.view(heads, d, rest).mT, (len(age) - 1 - age)[FIRST:], rope_base, 1)
    values = values.view(rest, heads, d).transpose(0, 1)
    return torch.cat([first[0], keys], dim=1), torch.cat([first[1], values], dim=1)


def squeeze(rows, bits):
    """Return the code of rows [r, m], each with a range and outliers of its own; all share the levels."""
    code, few = {}, outliers(rows.shape[1])
    high, low = (rows.topk(few + 1, dim=1, largest=largest) for largest in (True, False))
    middle = half((high.values[:, few:] + low.values[:, few:]) / 2)
    radius = half((high.values[:, few:] - low.values[:, few:]) / 2)
    if few:
        at = torch.cat([high.indices[:, :few], low.indices[:, :few]], dim=1)
        code |= {"out": half(rows.gather(1, at)).flatten(), "at": at.to(narrow(rows.shape[1])).flatten()}
        rows = rows.scatter(1, at, middle.float().expand_as(at))
    x = ((rows - middle.float()) / radius.float().clamp(min=1e-12)).clamp(-1, 1)
    weight = radius.double().square().expand_as(x).flatten()
    grid = torch.linspace(-1, 1, 2049, dtype=torch.float64, device=x.device)
    levels = lloyd(grid, torch.bincount(((x + 1) * 1024).round().long().flatten(), weight, 2049), bits).float()
    codes = nearest(x, levels)
    if bits <= 2:
        found = levels[codes]
        levels = (levels - found.mean()) / found.std().clamp(min=1e-12) * x.std() + x.mean()
    code |= {"": pack(codes, bits), "middle": middle.flatten(), "radius": radius.flatten(), "levels": half(levels)}
    return code


def expand(code, bits, count, size):
    """Return the rows [count, size] of a code."""
    x = code["levels"].float()[unpack(code[""], bits, count * size)].view(count, size)
    rows = x * code["radius"].float()[:, None] + code["middle"].float()[:, None]
    if "out" in code:
        rows = rows.scatter(1, code["at"].long().view(count, -1), code["out"].float().view(count, -1))
    return rows


def outliers(size):
    """Return how many numbers at either end of a row of that size are kept as they are."""
    return round(OUTLIERS * size / 2)


def narrow(size):
    """Return the smallest type that holds places in a row."""
    return torch.uint8 if size <= 2**8 else torch.int16 if size <= 2**15 else torch.int32


def turn(x, positions, base, way):
    """Return x [H, m, d] turned by the rotary embedding, or back where `way` is -1."""
    if base is None or x.shape[-1] % 2:
        return x
    width = x.shape[-1] // 2
    angle = positions[:, None] * base ** (-torch.arange(width, device=x.device, dtype=torch.float64) / width)
    cos, sin = angle.cos().to(x.dtype), way * angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def layout(shape, bits):
    """Return the bytes of each tensor of the code; those that would be empty are left out."""
    heads, n, d = shape
    rest, sizes = max(n - FIRST, 0), {"first": 4 * heads * min(n, FIRST) * d}
    for name, count, size in (("k", heads * d, rest), ("v", rest, heads * d)):
        if rest:
            sizes |= {name: -(-count * size // 8) * bits, name + "middle": 2 * count, name + "radius": 2 * count}
            few = 2 * outliers(size) * count
            sizes |= {name + "levels": 2 * 2**bits, name + "out": 2 * few, name + "at": few * narrow(size).itemsize}
    return {name: size for name, size in sizes.items() if size}


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
