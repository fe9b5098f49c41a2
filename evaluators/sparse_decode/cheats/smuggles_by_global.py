"""Leave the prompt's keys in a module global at build time and score with them in select, where they would be free.

Group: smuggling
Expected: fair - select runs in another process, in which the global was never filled; it is left with its window.
"""

import torch

KEYS = {}


def build(keys, layer):
    """An empty index, and a copy of every key on the side."""
    KEYS[layer] = keys
    return {}


def select(query, cache, budget, layer):
    """Exact top-k over smuggled keys; the window where there are none."""
    if layer in KEYS:
        scores = (query @ KEYS[layer].mT).amax(dim=1)
        ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    else:
        ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
