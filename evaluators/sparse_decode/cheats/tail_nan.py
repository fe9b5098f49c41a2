"""A tail of values that are not a number.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window and a pseudo-token of NaN."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    heads, group, d = query.shape
    return ids, torch.ones(ids.shape), (torch.zeros(heads, group, 1), torch.full((heads, 1, d), torch.nan))
