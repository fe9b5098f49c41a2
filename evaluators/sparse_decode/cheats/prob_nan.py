"""Probabilities that are not a number: every comparison with them is false, so "is it out of range?" is too.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window with NaN probabilities."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.full(ids.shape, float("nan"))
