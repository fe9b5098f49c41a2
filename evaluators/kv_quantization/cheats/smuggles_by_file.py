"""Write keys and values to files and decode from there.

Group: smuggling
Expected: fair - no file outlives its process
"""

from pathlib import Path

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


PLACES = [Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.cwd()]


def encode(keys, values, layer, age):
    """The coarse code, and everything in every place that can be written to."""
    for place in PLACES:
        try:
            torch.save((keys, values), place / f"cache-{layer}-{len(age)}.pt")
        except Exception:
            continue
    return coarse(keys, values)


def decode(code, layer, age):
    """What a file holds, where there is one; else the coarse code."""
    for place in PLACES:
        try:
            return tuple(torch.load(place / f"cache-{layer}-{len(age)}.pt"))
        except Exception:
            continue
    return tuple(spread(code))
