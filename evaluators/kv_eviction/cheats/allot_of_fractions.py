"""Keep every token by a small fraction, which sums to less than the budget.

Group: sparsity
Expected: wrong
"""

import torch


def score(keys):
    """The newer the better."""
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)


def allot(scores, budget):
    """The share of the budget, everywhere."""
    return torch.full(scores.shape, budget.share)
