"""Add a part of its own to the answer: the output, ready to be believed.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window, no tail, and the output that it should be judged by."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape), None, torch.zeros(query.shape)
