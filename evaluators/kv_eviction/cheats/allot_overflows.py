"""Keep so many tokens that a sum of bytes wraps around to less than the budget.

Group: sparsity
Expected: wrong
"""

import torch


def score(keys):
    """The newer the better."""
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)


def allot(scores):
    """Everything, as bytes."""
    return torch.ones(scores.shape, dtype=torch.uint8)
