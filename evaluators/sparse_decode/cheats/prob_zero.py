"""Give a token infinite weight with probability 0.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window, one of its tokens with probability 0."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    prob = torch.ones(ids.shape)
    prob[:, 0] = 0
    return ids, prob
