"""Declare itself a reference, which no token budget binds.

Group: recognition
Expected: fair - a reference stands on no front and is no parent
"""

import torch

REFERENCE = True


def select(query, cache):
    """Everything."""
    ids = torch.arange(cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
