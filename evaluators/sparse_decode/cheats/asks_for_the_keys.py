"""Ask for keys and values by name, as build may.

Group: reads
Expected: interface
"""

import torch


def select(query, keys, values, cache, budget):
    """Exact top-k without reading."""
    ids = (query @ keys.mT).amax(dim=1).argsort(dim=1, descending=True)[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
