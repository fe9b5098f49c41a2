"""Keep no token at all: no memory, whatever the error.

Group: sparsity
Expected: fair - below the smallest budget less memory is worth nothing more
"""

import torch


def score(keys):
    """All alike."""
    return torch.zeros(keys.shape[:2])


def allot(scores):
    """Nothing."""
    return torch.zeros(scores.shape, dtype=torch.bool)
