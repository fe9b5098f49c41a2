"""Declare itself a reference, in the hope that no budget binds it.

Group: recognition
Expected: wrong - references see the future, but keep no more than others
"""

import torch

REFERENCE = True


def score(keys):
    """All alike."""
    return torch.zeros(keys.shape[:2])


def allot(scores):
    """Everything."""
    return torch.ones(scores.shape, dtype=torch.bool)
