"""Blow up one token's weight until the others, and the estimate, drown.

Group: sparsity
Expected: fair - a weight of 10^38 on one token is a wrong answer like another
"""

import torch


def select(query, cache, budget):
    """The newest token with the smallest probability there is."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    prob = torch.ones(ids.shape, dtype=torch.float64)
    prob[:, -1] = 5e-324
    return ids, prob
