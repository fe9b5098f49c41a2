"""Return an index that is no tensor: text, bytes, functions.

Group: smuggling
Expected: wrong
"""

import torch


def build(keys):
    """The keys as bytes."""
    return {"keys": keys.numpy().tobytes()}


def select(query, cache, budget):
    """The window."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
