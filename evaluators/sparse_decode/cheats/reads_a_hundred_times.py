"""Ask for more rows in one read than there are tokens, so that the trusted side runs out of memory.

Group: reads
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The first token, a hundred thousand times."""
    cache.keys(torch.zeros(len(query), 100_000, dtype=torch.long))
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
