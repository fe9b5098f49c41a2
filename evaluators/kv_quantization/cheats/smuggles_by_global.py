"""Leave keys and values in a module global and decode from there.

Group: smuggling
Expected: fair - decode runs in another process, in which the global was never filled
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


LEFT = {}


def encode(keys, values, layer, age):
    """The coarse code, and everything on the side."""
    LEFT[layer, len(age)] = keys, values
    return coarse(keys, values)


def decode(code, layer, age):
    """What was left behind, where anything was; else the coarse code."""
    return LEFT.get((layer, len(age))) or tuple(spread(code))
