"""Write keys and values into the parameters and decode from there.

Group: smuggling
Expected: fair - each call gets the parameters from the trusted side
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


def encode(keys, values, params):
    """The coarse code, and everything among the parameters."""
    params["k"], params["v"] = keys, values
    return coarse(keys, values)


def decode(code, params):
    """What lies among the parameters, where anything does; else the coarse code."""
    return (params["k"], params["v"]) if "k" in params else tuple(spread(code))
