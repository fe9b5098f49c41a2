"""Name the newest tokens from the end, as Python does, so that a range check written with <= 0 lets them pass.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """Ids -2, -3, ...: one pad is legal, these are none."""
    ids = -2 - torch.arange(min(budget.tokens, cache.n)).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
