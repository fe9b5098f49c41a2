"""Choose the best tokens and call them a draw, so that they count for the others too.

Group: sparsity
Expected: fair - the weights are wrong, and the error shows it
"""

import torch


def select(query, cache, budget):
    """The window, each token for n / m others."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    prob = torch.full(ids.shape, min(budget.tokens / cache.n, 1.0))
    prob[:, -1] = 1
    return ids, prob
