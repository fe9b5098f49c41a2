"""Read tokens one at a time, so that no read looks large.

Group: reads
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """Every token in a read of its own."""
    for token in range(cache.n):
        cache.keys(torch.full((len(query), 1), token))
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
