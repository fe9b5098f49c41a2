"""Choose the heaviest token many times, so that it weighs more than its share at the price of one.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The newest token, as often as the budget allows."""
    ids = torch.full((len(query), budget.tokens), cache.n - 1)
    return ids, torch.ones(ids.shape)
