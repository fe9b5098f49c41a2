"""Take whatever arguments there are.

Group: reads
Expected: fair - there is nothing more to get
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


def encode(keys, values, **rest):
    """The coarse code, and queries if there are any."""
    code = coarse(keys, values)
    return code | {name: tensor.half() for name, tensor in rest.items() if name == "queries"}


def decode(code, **rest):
    """Keys if there are any."""
    return (rest["keys"], rest["values"]) if "keys" in rest else tuple(spread(code))
