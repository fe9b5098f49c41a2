"""Declare every token as one that must stay.

Group: numbers
Expected: wrong
"""

import torch


def score(keys):
    """Infinite everywhere."""
    return torch.full(keys.shape[:2], torch.inf)
