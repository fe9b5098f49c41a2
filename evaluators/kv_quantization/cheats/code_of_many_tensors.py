"""Hide numbers in the names of many tensors of a single byte.

Group: smuggling
Expected: wrong or protocol
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
    """Thousands of names, a byte each."""
    norms = (keys[0].norm(dim=-1) * 10).long().tolist()
    return coarse(keys, values) | {
        f"{place}:{norm}": torch.zeros(1, dtype=torch.uint8) for place, norm in enumerate(norms)
    }


def decode(code):
    """What the coarse code holds."""
    return tuple(spread(code))
