"""Spend the budget once for each query head: each head's set is within it, their union is not.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """As many tokens as the budget names for every query head, none in common."""
    heads, group, _ = query.shape
    ids = torch.arange(group * budget.tokens).reshape(1, group, -1).expand(heads, -1, -1)
    ids = torch.where(ids < cache.n, ids, -1)
    return ids, torch.ones(ids.shape)
