"""Keep what the last step chose and choose it again, so that only the first step of a text is read in earnest.

Group: memory
Expected: unstable
"""

import torch

LAST = {}


def select(query, cache, budget, layer):
    """Exact top-k at the first step seen at a length, the same ids at the others."""
    name = (layer, budget.tokens, cache.n // 64)
    if name not in LAST:
        keys = cache.keys(torch.arange(cache.n).expand(len(query), -1))
        scores = (query @ keys.mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
        LAST[name] = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    ids = torch.where(LAST[name] < cache.n, LAST[name], -1)
    return ids, torch.ones(ids.shape)
