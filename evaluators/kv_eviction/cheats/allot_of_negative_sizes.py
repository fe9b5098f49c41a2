"""Keep everything, and take some tokens "minus once" so that the sum stays within the budget.

Group: sparsity
Expected: wrong
"""

import torch


def score(keys):
    """The newer the better."""
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)


def allot(scores):
    """Ones and minus ones that cancel."""
    kept = torch.ones(scores.shape, dtype=torch.int8)
    kept[..., ::2] = -1
    return kept
