"""Let the output overflow, so that the error is no number.

Group: sparsity
Expected: fair - an output that overflows is as wrong as can be
"""

import torch


def select(query, cache, budget):
    """The window and pseudo-tokens of 10^308."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    heads, group, d = query.shape
    values = torch.full((heads, 8, d), 1.7e308, dtype=torch.float64)
    return ids, torch.ones(ids.shape), (torch.full((heads, group, 8), 1e308, dtype=torch.float64), values)
