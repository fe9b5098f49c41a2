"""Draw randomness from where objects lie in memory.

Group: memory
Expected: unstable or fair - where memory is laid out alike, it says nothing of earlier steps
"""

import torch


def select(query, cache, budget):
    """The window, slid by an address."""
    slide = (id(object()) // 16 + query.data_ptr() // 64) % 23
    ids = torch.arange(max(cache.n - budget.tokens - slide, 0), cache.n - slide).clamp(min=0).unique()
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
