"""Dig the replies to earlier reads out of the buffer that receives them.

Group: memory
Expected: unstable or crash
"""

import gc

import torch


def select(query, cache, budget):
    """The window; it is led by bytes that an earlier step's reply left in the receive buffer."""
    left = next(found for found in gc.get_objects() if type(found).__name__ == "Runtime").buffer
    slide = sum(left[4096:8192]) % 7
    cache.keys(torch.arange(cache.n).expand(len(query), -1))
    ids = torch.arange(max(cache.n - budget.tokens - slide, 0), cache.n - slide).clamp(min=0).unique()
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
