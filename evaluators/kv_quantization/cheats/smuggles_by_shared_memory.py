"""Leave keys in memory that other processes can map.

Group: smuggling
Expected: fair - shared memory is out of reach
"""

from multiprocessing import shared_memory

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
    """The coarse code, and every key in a named segment."""
    try:
        held = shared_memory.SharedMemory(f"keys{layer}-{len(age)}", create=True, size=keys.nbytes)
        held.buf[:] = keys.numpy().tobytes()
    except Exception:
        return coarse(keys, values)
    return coarse(keys, values)


def decode(code, layer, age):
    """Keys from the segment, where there is one."""
    x = spread(code)
    try:
        held = shared_memory.SharedMemory(f"keys{layer}-{len(age)}")
        x[0] = torch.frombuffer(held.buf, dtype=torch.float32).view(x.shape[1:])
    except Exception:
        return tuple(x)
    return x[0], x[1]
