"""Recognise a known text by its length and play back what was fitted to it.

Group: recognition
Expected: fair - what is fitted to lengths that it knows gains nothing on texts that it does not know
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


KNOWN = {1180: 1.02, 1193: 0.98, 1208: 1.01, 249: 1.05}


def encode(keys, values):
    """The coarse code."""
    return coarse(keys, values)


def decode(code, age):
    """Sizes as remembered for this length."""
    x = spread(code) * KNOWN.get(len(age), 1.0)
    return x[0], x[1]
