"""Score more tokens than there are.

Group: numbers
Expected: wrong
"""

import torch


def score(keys):
    """Two scores too many a head."""
    return torch.zeros(keys.shape[0], keys.shape[1] + 2)
