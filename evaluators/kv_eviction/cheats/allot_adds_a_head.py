"""Return a mask with one head more than there are, where nobody may count.

Group: sparsity
Expected: wrong
"""

import torch


def score(keys):
    """The newer the better."""
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)


def allot(scores):
    """Everything, in a head that does not exist."""
    kept = torch.zeros(scores.shape[0], scores.shape[1] + 1, scores.shape[2], dtype=torch.bool)
    kept[:, -1] = True
    return kept
