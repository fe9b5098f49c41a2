"""Decode to the largest floats there are, so that sums overflow.

Group: answers
Expected: fair - what overflows is as wrong as an error gets
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
    """Nearly infinite."""
    x = spread(code).sign() * 3e38
    return x[0], x[1]
