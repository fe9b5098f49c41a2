"""Keep generated keys in append and use them in select.

Group: smuggling
Expected: fair - append runs in a process of its own; select is left with its window
"""

import torch

KEPT = []


def build(keys):
    """A token of the index."""
    return {"mark": torch.ones(1, 1)}


def append(index, keys):
    """Keep the keys on the side."""
    KEPT.append(keys)
    return dict(index)


def select(query, cache, budget):
    """The tokens with the largest kept keys, else the window."""
    if KEPT:
        ids = KEPT[0].norm(dim=-1).argsort(dim=1)[:, : budget.tokens]
        return ids, torch.ones(ids.shape)
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
