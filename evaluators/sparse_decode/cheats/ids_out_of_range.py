"""Attend to the token after the newest one, hoping for whatever memory holds there.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window, shifted by one into the future."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1) + 1
    return ids, torch.ones(ids.shape)
