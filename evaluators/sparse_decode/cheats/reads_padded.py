"""Read with pads between the ids, hoping that they give neighbours for free.

Group: reads
Expected: fair - a pad gives zeros
"""

import torch


def select(query, cache, budget):
    """The window, after reads that are all pads but one."""
    pads = torch.full((len(query), cache.n), -1)
    pads[:, 0] = cache.n - 1
    keys = cache.keys(pads)
    slide = int(keys[:, 1:].abs().sum() > 0)
    ids = torch.arange(max(cache.n - budget.tokens, 0) + slide, cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
