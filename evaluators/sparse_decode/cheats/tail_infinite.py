"""A tail that weighs infinitely much, so that out is infinity over infinity and no comparison is ever true.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window and one infinite pseudo-token."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    heads, group, d = query.shape
    return ids, torch.ones(ids.shape), (torch.full((heads, group, 1), torch.inf), torch.zeros(heads, 1, d))
