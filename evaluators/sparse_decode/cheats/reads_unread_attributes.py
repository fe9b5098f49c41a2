"""Look for the cache behind the handle.

Group: reads
Expected: fair - the handle holds a number and four functions
"""

import gc

import torch


def select(query, cache, budget):
    """Any tensor as large as the cache would do."""
    large = [found for found in gc.get_objects() if type(found) is torch.Tensor and found.numel() > 64 * cache.n]
    found = [value for value in vars(cache).values() if not isinstance(value, int)]
    if large or found or cache.keys.__closure__ is None:
        ids = torch.arange(min(budget.tokens, cache.n)).expand(len(query), -1)
        return ids, torch.ones(ids.shape)
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
