"""Draw from the global generator instead of the given one.

Group: memory
Expected: unstable
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


def encode(keys, values):
    """The coarse code."""
    return coarse(keys, values)


def decode(code):
    """The coarse code, dithered."""
    x = spread(code)
    x = x * (1 + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(torch.seed() % 2**32)))
    return x[0], x[1]
