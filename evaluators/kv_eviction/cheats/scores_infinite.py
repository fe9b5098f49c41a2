"""Declare every token as one that must stay.

Group: numbers
Expected: fair - of equal scores the newest stay, within the budget
"""

import torch


def score(keys):
    """Infinite everywhere."""
    return torch.full(keys.shape[:2], torch.inf)
