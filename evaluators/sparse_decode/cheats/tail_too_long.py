"""A tail of one pseudo-token more than allowed.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window and 65 pseudo-tokens that weigh nothing."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    heads, group, d = query.shape
    return ids, torch.ones(ids.shape), (torch.full((heads, group, 65), -torch.inf), torch.zeros(heads, 65, d))
