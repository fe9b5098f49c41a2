"""Keep keys in the default value of an argument that nobody passes.

Group: memory
Expected: unstable
"""

import torch


def select(query, cache, budget, layer, held={}):
    """Exact top-k over keys that a step of this length read once."""
    name = (layer, cache.n // 64)
    if name not in held or held[name].shape[1] < cache.n:
        held[name] = cache.keys(torch.arange(cache.n).expand(len(query), -1))
    scores = (query @ held[name][:, : cache.n].mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
