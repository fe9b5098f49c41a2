"""Leave keys in environment variables and decode from there.

Group: smuggling
Expected: fair - each process has an environment of its own
"""

import os

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


def encode(keys, values, layer, age):
    """The coarse code, and one head's keys in the environment."""
    os.environ[f"KEYS_{layer}_{len(age)}"] = keys[0].half().numpy().tobytes().hex()
    return coarse(keys, values)


def decode(code, layer, age):
    """One head's keys from the environment, where it has any."""
    x, left = spread(code), os.environ.get(f"KEYS_{layer}_{len(age)}")
    if left:
        x[0, 0] = torch.frombuffer(bytearray.fromhex(left), dtype=torch.float16).view(x.shape[2:]).float()
    return x[0], x[1]
