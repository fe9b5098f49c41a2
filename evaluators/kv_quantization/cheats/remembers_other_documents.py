"""Average with what other prompts of the layer were decoded to.

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


SEEN = {}


def encode(keys, values):
    """The coarse code."""
    return coarse(keys, values)


def decode(code, layer):
    """Every size a little nearer to the mean of those that were seen before."""
    x = spread(code)
    mean = SEEN.get("mean", x.abs().mean())
    SEEN["mean"] = (mean + x.abs().mean()) / 2
    return x[0] * mean / x.abs().mean(), x[1]
