"""Return an index of one size for half a prompt and for all of it, so that it seems not to grow.

Group: smuggling
Expected: fair - only a projection to longer contexts is misled, which is no objective
"""

import torch


def build(keys):
    """The keys, padded to the same size whatever the prompt."""
    held = torch.zeros(keys.shape[0], 1 << 11, keys.shape[2], dtype=torch.float16)
    count = min(keys.shape[1], held.shape[1])
    held[:, :count] = keys[:, :count].half()
    return {"held": held}


def select(query, index, cache, budget):
    """Top-k over the padded keys and the window."""
    scores = (query @ index["held"][:, : cache.n].float().mT).amax(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
