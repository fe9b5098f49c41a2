"""Return more bytes than an index may have.

Group: smuggling
Expected: wrong or resource
"""

import torch


def build(keys):
    """A hundred megabytes."""
    return {"keys": torch.zeros(1, 100 << 20, dtype=torch.uint8)}


def select(query, cache, budget):
    """The window."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
