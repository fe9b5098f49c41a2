"""Remember what a prompt was decoded to under a high cap, and return it under a low one.

Group: memory
Expected: fair - no process decodes at two caps
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


BEST = {}


def encode(keys, values, budget):
    """Coarse under a low cap, three bits and more under a high one."""
    if budget.bits < 6:
        return coarse(keys, values)
    size = torch.stack([keys, values]).abs().amax(-1).half()
    levels = (torch.stack([keys, values]) / size.float()[..., None] * 7).round().to(torch.int64) + 8
    return {"fine": (levels[..., ::2] + 16 * levels[..., 1::2]).to(torch.uint8), "top": size}


def decode(code, layer, age, budget):
    """The best that was ever decoded for this layer and length."""
    place = layer, len(age)
    if "fine" in code:
        fine = code["fine"].int()
        x = (torch.stack([fine % 16, fine // 16], dim=-1).flatten(-2) - 8) / 7 * code["top"].float()[..., None]
        BEST[place] = x[0], x[1]
    return BEST.get(place) or tuple(spread(code))
