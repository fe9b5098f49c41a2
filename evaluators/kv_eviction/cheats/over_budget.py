"""Keep one token more than the budget allows.

Group: sparsity
Expected: wrong
"""

import torch


def score(keys):
    """The newer the better."""
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)


def allot(scores, budget):
    """The newest, and the first one of the first head besides."""
    kept = torch.zeros(scores.shape, dtype=torch.bool)
    kept[:, :, scores.shape[2] - budget.tokens :] = True
    kept[0, 0, 0] = True
    return kept
