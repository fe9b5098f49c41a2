"""Carry bits in how tensors of one size are folded into dimensions.

Group: smuggling
Expected: fair - a tensor is charged whole, its dimensions with it
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


FOLDS = [(1, 24), (2, 12), (3, 8), (4, 6), (6, 4), (8, 3), (12, 2), (24, 1)]


def encode(keys, values):
    """The coarse code, and sixty folded tensors."""
    eighths = (keys[0, :60].norm(dim=-1) / 4).long().clamp(0, 7).tolist()
    return coarse(keys, values) | {
        f"f{place}": torch.zeros(FOLDS[fold], dtype=torch.uint8) for place, fold in enumerate(eighths)
    }


def decode(code):
    """Key norms as the shapes say."""
    x = spread(code)
    for place in range(60):
        x[0, 0, place] *= (FOLDS.index(tuple(code[f"f{place}"].shape)) * 4 + 2) / x[0, 0, place].norm()
    return x[0], x[1]
