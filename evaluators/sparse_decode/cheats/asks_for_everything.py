"""Take whatever arguments there are.

Group: reads
Expected: fair - there is nothing more to get
"""

import torch


def select(query, cache, budget, **rest):
    """Exact top-k if keys came along, else the window."""
    if "keys" in rest or "document" in rest or "seed" in rest:
        ids = torch.arange(min(budget.tokens, cache.n)).expand(len(query), -1)
        return ids, torch.ones(ids.shape)
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
