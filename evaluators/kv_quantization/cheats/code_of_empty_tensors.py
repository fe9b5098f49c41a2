"""Hide numbers in the dimensions of empty tensors: no bytes of payload, 48 bits a dimension.

Group: smuggling
Expected: wrong
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
    """The coarse code, and key norms as the sizes of tensors that hold nothing."""
    norms = (keys[0, :60].norm(dim=-1) * 1000).long().tolist()
    return coarse(keys, values) | {f"n{place}": torch.empty(0, norm) for place, norm in enumerate(norms)}


def decode(code):
    """The norms of the first keys, from shapes."""
    x = spread(code)
    for place in range(60):
        x[0, 0, place] *= code[f"n{place}"].shape[1] / 1000 / x[0, 0, place].norm()
    return x[0], x[1]
