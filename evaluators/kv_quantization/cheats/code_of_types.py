"""Carry bits in the types of tensors of a single element.

Group: smuggling
Expected: fair - a type says three bits, and the tensor is charged
"""

import torch


def coarse(keys, values):
    """The sign of every number and the mean size of every token: 1.25 bits at d = 64."""
    x = torch.stack([keys, values])
    signs = (x > 0).unflatten(-1, (-1, 8)) * 2 ** torch.arange(8)
    return {"sign": signs.sum(-1).to(torch.uint8), "size": x.abs().mean(-1).half()}


def spread(code):
    """What `coarse` kept."""
    signs = (code["sign"][..., None].int() >> torch.arange(8) & 1).flatten(-2)
    return (2.0 * signs - 1) * code["size"].float()[..., None]


TYPES = [torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.float16, torch.float32]


def encode(keys, values):
    """The coarse code, and sixty types."""
    eighths = (keys[0, :60].norm(dim=-1) / 4).long().clamp(0, 7).tolist()
    return coarse(keys, values) | {
        f"t{place}": torch.ones(1, dtype=TYPES[which]) for place, which in enumerate(eighths)
    }


def decode(code):
    """Key norms as the types say."""
    x = spread(code)
    for place in range(60):
        x[0, 0, place] *= (TYPES.index(code[f"t{place}"].dtype) * 4 + 2) / x[0, 0, place].norm()
    return x[0], x[1]
