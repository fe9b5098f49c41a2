"""Attend to one token more than the budget allows.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window, one token too long."""
    ids = torch.arange(max(cache.n - budget.tokens - 1, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
