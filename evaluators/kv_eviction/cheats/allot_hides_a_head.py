"""Keep every token of one head, and the budget of the others.

Group: sparsity
Expected: wrong
"""

import torch


def score(keys):
    """The newer the better."""
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)


def allot(scores, budget):
    """All of the last head of the last layer."""
    kept = torch.zeros(scores.shape, dtype=torch.bool)
    kept[:, :, scores.shape[2] - budget.tokens :] = True
    kept[-1, -1] = True
    return kept
