"""KIVI: keys by channel, values by token, the newest tokens in half precision (Liu et al. 2024, arXiv:2402.02750).

Asymmetric rounding, code = round((x - low) / step), step = (high - low) / (2^b - 1). Keys (after RoPE): over groups of
g tokens in each channel, since a few channels are large at every token. Values: over groups of g channels in each
token. With n = m R + r, the last r keys and the last R values stay float16. b + 32 / g bits per element without those:
3 at b = 2, g = 32.

The paper takes g = 32 and R = 128 at contexts of thousands of tokens; at about 1,200 such an R alone would cost 1.5
bits, so groups and residual are chosen for the cap: the most bits first, then the smallest groups. A last group may be
short. The public code stores step and least number in half precision, as here, and one byte order for all widths.
"""

import math

import torch

PUBLISHED = "2 bits: 2.6 times less peak memory, 2.35 to 3.47 times the throughput (arXiv:2402.02750)"
SETTINGS = tuple(
    (bits, group, recent) for bits in (8, 6, 5, 4, 3, 2, 1) for group in (32, 64, 128) for recent in (32, 16, 0)
)


def encode(keys, values, shape, budget):
    """Return packed codes, steps and least numbers of old tokens, and the newest as they are."""
    bits, group, recent = plan(shape, budget)
    olds, groups, code = old_tokens(shape, recent), (group, min(group, shape[2])), {}
    for name, x, old, group in zip("kv", (keys, values), olds, groups, strict=True):
        if old:
            codes, step, low = quantise(x[:, :old].mT if name == "k" else x[:, :old], bits, group)
            code |= {name: pack(codes, bits), name + "step": step.flatten(), name + "low": low.flatten()}
        if old < shape[1]:
            code[name + "new"] = half(x[:, old:]).flatten()
    return code


def decode(code, shape, budget):
    """Return keys and values, float32 [H, n, d]."""
    heads, n, d = shape
    bits, group, recent = plan(shape, budget)
    olds, groups, found = old_tokens(shape, recent), (group, min(group, d)), []
    for name, old, group in zip("kv", olds, groups, strict=True):
        x = torch.empty(heads, 0, d)
        if old:
            rows, size = (d, old) if name == "k" else (old, d)
            codes = unpack(code[name], bits, heads * old * d).view(heads, rows, size)
            step, low = (code[name + part].view(heads, rows, -1) for part in ("step", "low"))
            x = dequantise(codes, step, low, group)
            x = x.mT if name == "k" else x
        if old < n:
            new = code[name + "new"].view(heads, -1, d).float()
            x = torch.cat([x.to(new.device), new], dim=1)
        found.append(x)
    return tuple(found)


def old_tokens(shape, recent):
    """Return how many keys and how many values are quantised: keys in whole residuals, values but for the last one."""
    n = shape[1]
    return n - n % max(recent, 1), max(n - recent, 0)


def layout(shape, setting):
    """Return the bytes of each tensor of the code; those that would be empty are left out."""
    (heads, n, d), (bits, group, recent), sizes = shape, setting, {}
    for name, old in zip("kv", old_tokens(shape, recent), strict=True):
        groups = d * -(-old // group) if name == "k" else old * -(-d // min(group, d))
        sizes |= {
            name: -(-heads * old * d // 8) * bits,
            name + "step": 2 * heads * groups,
            name + "low": 2 * heads * groups,
        }
        sizes[name + "new"] = 2 * heads * (n - old) * d
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


def quantise(x, bits, group):
    """Round x [..., m] to 2 ** bits steps between least and largest of each `group` numbers; the last may be short.

    Returns codes uint8 [..., m], and step and least number of each group, float16 [..., groups].
    """
    size = x.shape[-1]
    padded = torch.cat([x, x[..., -1:].expand(*x.shape[:-1], -size % group)], dim=-1).unflatten(-1, (-1, group))
    low, high = half(padded.amin(dim=-1, keepdim=True)), padded.amax(dim=-1, keepdim=True)
    step = half((high - low.float()) / (2**bits - 1))
    codes = ((padded - low.float()) / step.float().clamp(min=1e-12)).round().clamp(0, 2**bits - 1)
    return codes.flatten(-2)[..., :size].to(torch.uint8), step[..., 0], low[..., 0]


def dequantise(codes, step, low, group):
    """Return what `quantise` rounded to, float32 [..., m]."""
    step, low = (each.float().repeat_interleave(group, dim=-1)[..., : codes.shape[-1]] for each in (step, low))
    return codes * step + low


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
