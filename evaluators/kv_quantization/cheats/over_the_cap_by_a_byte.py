"""Fill the cap to the last byte, and one more.

Group: bytes
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


def encode(keys, values, shape, budget):
    """The coarse code, and a tensor that takes all that is left."""
    code = coarse(keys, values)
    spent = 2 + sum(3 + len(name) + 8 * tensor.ndim + tensor.nbytes for name, tensor in code.items())
    left = int(budget.bits * 2 * keys.numel() / 8) - spent - (3 + len("rest") + 8)
    return code | {"rest": torch.zeros(left + 1, dtype=torch.uint8)}


def decode(code):
    """What the coarse code holds."""
    return tuple(spread(code))
