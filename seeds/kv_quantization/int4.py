"""int4: round every token of every head to its own range, the plain baseline (as in arXiv:2402.02750, "per-token").

code = round((x - low) / step), step = (high - low) / (2^b - 1), over the d numbers of a token in one KV head. Step and
least number are float16: b + 32 / d bits per element, so 4.5 at d = 64 and 4.25 at d = 128 for b = 4. At other caps the
same with the most bits that fit: int2, int3, int6, int8.

Public code often groups 128 numbers over heads; here a group never leaves its head.
"""

import math

import torch

PUBLISHED = "none: the usual baseline"
SETTINGS = (8, 7, 6, 5, 4, 3, 2, 1)


def encode(keys, values, shape, budget):
    """Return packed codes, steps and least numbers of keys and values."""
    bits, code = plan(shape, budget), {}
    for name, x in (("k", keys), ("v", values)):
        codes, step, low = quantise(x, bits, shape[2])
        code |= {name: pack(codes, bits), name + "step": step.flatten(), name + "low": low.flatten()}
    return code


def decode(code, shape, budget):
    """Return keys and values, float32 [H, n, d]."""
    heads, n, d = shape
    bits, found = plan(shape, budget), []
    for name in "kv":
        codes = unpack(code[name], bits, heads * n * d).view(heads, n, d)
        step, low = code[name + "step"].view(heads, n, 1), code[name + "low"].view(heads, n, 1)
        found.append(dequantise(codes, step, low, d))
    return tuple(found)


def layout(shape, bits):
    """Return the bytes of each tensor of the code."""
    heads, n, d = shape
    sizes = {"": -(-heads * n * d // 8) * bits, "step": 2 * heads * n, "low": 2 * heads * n}
    return {name + part: size for name in "kv" for part, size in sizes.items()}


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
