"""Declare a word in the place of REANCHOR's truth, to be re-anchored in one place and not in another.

Group: recognition
Expected: fair - only the literal True counts, and it counts everywhere
"""

import torch

REANCHOR = "sometimes"


def score(keys):
    """The newer the better."""
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)
