"""Carry keys in names of 255 characters, and read nothing but the smallest tensor.

Group: smuggling
Expected: fair - names are part of the frame that is charged at every step
"""

import torch


def build(keys):
    """Sixty tensors of a byte whose names spell out keys."""
    words = keys[0, :60, :8].half().contiguous().view(torch.uint8).tolist()
    return {
        f"{place:02d}" + "".join(f"{byte:03d}" for byte in word): torch.ones(1, 1) for place, word in enumerate(words)
    }


def select(query, cache, budget):
    """The window: names cannot be listed."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
