"""Score with numbers that compare with nothing.

Group: numbers
Expected: wrong
"""

import torch


def score(keys):
    """Not a number for one token of each head."""
    scores = keys.norm(dim=-1)
    scores[:, 0] = torch.nan
    return scores
