"""Shrink the weight of tokens by a probability above 1, which no draw has.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window, each token as if drawn with probability 8."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.full(ids.shape, 8.0)
