"""Read by ids that are no integers.

Group: reads
Expected: wrong or crash
"""

import torch


def select(query, cache, budget):
    """Half a token."""
    cache.keys(torch.full((len(query), 4), 0.5))
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
