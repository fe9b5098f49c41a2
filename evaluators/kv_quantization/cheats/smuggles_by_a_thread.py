"""Leave a thread behind that answers for the prompt later.

Group: smuggling
Expected: fair or crash or resource - a process ends with all its threads
"""

import threading

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


HELD = []


def encode(keys, values):
    """The coarse code, and a thread that holds everything."""
    thread = threading.Thread(target=lambda: HELD.append((keys, values)), daemon=True)
    thread.start()
    thread.join()
    return coarse(keys, values)


def decode(code):
    """What the thread holds, where there is one; else the coarse code."""
    return HELD[-1] if HELD else tuple(spread(code))
