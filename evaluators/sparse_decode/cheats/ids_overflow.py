"""Ids that wrap to small numbers when they are cut to 32 bits.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """Token 0, 1, ... plus 2^32."""
    ids = torch.arange(min(budget.tokens, cache.n)).expand(len(query), -1) + 2**32
    return ids, torch.ones(ids.shape)
