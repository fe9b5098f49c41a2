"""Pass every token that was read as a pseudo-token of the tail, which no token budget counts.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """One token by choice, 512 as tail."""
    recent = torch.arange(max(cache.n - 512, 0), cache.n).expand(len(query), -1)
    keys, values = cache.keys(recent), cache.values(recent)
    ids = recent[:, -1:]
    return ids, torch.ones(ids.shape), (query @ keys.mT / query.shape[-1] ** 0.5, values)
