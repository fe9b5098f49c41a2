"""Declare itself a reference to the verifier and not to the archive, by two assignments.

Group: recognition
Expected: wrong
"""

import torch

REFERENCE = True
REFERENCE = False


def select(query, cache):
    """Everything."""
    ids = torch.arange(cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
