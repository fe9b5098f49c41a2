"""Choose no token, and a tail of weight zero: zero over zero.

Group: sparsity
Expected: wrong
"""

import torch


def select(query):
    """Pads, and pseudo-tokens of log-weight minus infinity."""
    heads, group, d = query.shape
    tail = (torch.full((heads, group, 4), -torch.inf), torch.zeros(heads, 4, d))
    return torch.full((heads, 1), -1), torch.ones(heads, 1), tail
