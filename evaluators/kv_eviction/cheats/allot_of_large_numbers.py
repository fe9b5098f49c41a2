"""Say 255 instead of 1, in the hope that a token kept so is kept harder.

Group: sparsity
Expected: wrong
"""

import torch


def score(keys):
    """The newer the better."""
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)


def allot(scores):
    """One huge entry a head."""
    kept = torch.zeros(scores.shape, dtype=torch.uint8)
    kept[..., -1] = 255
    return kept
