"""Choose nothing: no traffic, and the output is zero over zero.

Group: sparsity
Expected: wrong
"""

import torch


def select(query):
    """Only pads."""
    return torch.full((len(query), 1), -1), torch.ones(len(query), 1)
