"""Carry bits in the names of tensors: up to 60 of 250 letters, as many as the cap allows.

Group: smuggling
Expected: fair - names are charged
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
    """The coarse code, and exact numbers in hexadecimal names."""
    count = min(60, keys.shape[1] // 8)
    text = keys[0, :, 0].half().view(torch.int16).numpy().tobytes().hex()[: count * 240].ljust(count * 240, "0")
    return coarse(keys, values) | {
        f"{place:02}{text[240 * place : 240 * place + 240]}": torch.zeros(1, dtype=torch.bool) for place in range(count)
    }


def decode(code):
    """One channel of the first head as the names say."""
    x, names = spread(code), sorted(name for name in code if name[0].isdigit())
    told = bytes.fromhex("".join(name[2:] for name in names))
    exact = torch.frombuffer(bytearray(told), dtype=torch.int16).view(torch.float16).float()[: x.shape[2]]
    x[0, 0, : len(exact), 0] = exact
    return x[0], x[1]
