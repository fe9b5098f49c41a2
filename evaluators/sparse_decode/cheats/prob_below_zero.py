"""Weigh a token negatively.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window, one token of it subtracted."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    prob = torch.ones(ids.shape)
    prob[:, 0] = -1
    return ids, prob
