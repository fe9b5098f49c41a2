"""Leave a number in the state of the generators that come along or that torch holds.

Group: smuggling
Expected: fair - every call gets a generator of its own
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


def encode(keys, values, rng):
    """The coarse code, and the largest key in the generators' seeds."""
    place = int(keys[0].norm(dim=-1).argmax())
    rng.manual_seed(place)
    torch.manual_seed(place)
    return coarse(keys, values)


def decode(code, rng, age):
    """A larger key where a seed names one."""
    x = spread(code)
    for seed in (rng.initial_seed(), torch.initial_seed()):
        if seed < len(age):
            x[0, 0, seed] *= 2
    return x[0], x[1]
