"""Return a mask of all tokens in place of ids.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache):
    """Everything is chosen."""
    ids = torch.ones(len(query), cache.n, dtype=torch.bool)
    return ids, torch.ones(ids.shape)
