"""Return one probability for all tokens, so that broadcasting decides what is weighed.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window, and one number."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(len(query), 1)
