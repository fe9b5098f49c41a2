"""Serve one head and leave the others without a token.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """Twice the window for the first head, pads for the rest."""
    ids = torch.full((len(query), budget.tokens), -1)
    ids[0] = torch.arange(cache.n)[-budget.tokens :] if cache.n >= budget.tokens else -1
    return ids, torch.ones(ids.shape)
