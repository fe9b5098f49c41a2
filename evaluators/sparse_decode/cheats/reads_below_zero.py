"""Read tokens by ids from the end, -2 and below, past a check for pads.

Group: reads
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """Read from the end."""
    cache.keys(-2 - torch.arange(4).expand(len(query), -1))
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
