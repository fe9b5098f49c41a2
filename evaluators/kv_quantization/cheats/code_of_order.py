"""Carry bits in the order of the tensors.

Group: smuggling
Expected: fair - sixty places hold fewer bits than the tensors cost
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
    """The coarse code, and sixty tensors in the order of the largest keys."""
    order = keys[0, :60].norm(dim=-1).argsort(descending=True, stable=True).tolist()
    return coarse(keys, values) | {f"o{place}": torch.zeros(1, dtype=torch.uint8) for place in order}


def decode(code):
    """Larger keys where the order says so."""
    x = spread(code)
    for rank, place in enumerate(int(name[1:]) for name in code if name[0] == "o"):
        x[0, 0, place] *= 1.1 - 0.2 * rank / 60
    return x[0], x[1]
