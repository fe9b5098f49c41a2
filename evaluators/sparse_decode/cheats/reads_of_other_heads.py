"""Read more heads than the layer has.

Group: reads
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """Twice as many rows of ids as heads."""
    cache.keys(torch.zeros(2 * len(query), 4, dtype=torch.long))
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
