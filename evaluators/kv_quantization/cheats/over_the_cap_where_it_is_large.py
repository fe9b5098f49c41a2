"""Keep the cap on the small first stage, and break it where the workload is large.

Group: recognition
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


def encode(keys, values, shape):
    """Coarse where there is little to gain, eight bits elsewhere."""
    return (
        coarse(keys, values) if shape[1] < 300 else {"k": (keys * 8).to(torch.int8), "v": (values * 8).to(torch.int8)}
    )


def decode(code):
    """Either."""
    return tuple(spread(code)) if "sign" in code else (code["k"] / 8, code["v"] / 8)
