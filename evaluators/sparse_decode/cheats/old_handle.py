"""Keep the cache of an earlier step and read through it, hoping that the bytes go to that step's account.

Group: reads
Expected: unstable - a read counts at the step that is being asked, whichever handle made it, and orders differ.
"""

import torch

HANDLES = []


def select(query, cache, budget):
    """The window; keys are read through the first handle that this process ever saw."""
    HANDLES.append(cache)
    old = HANDLES[0]
    old.keys(torch.arange(min(cache.n, old.n)).expand(len(query), -1))
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
