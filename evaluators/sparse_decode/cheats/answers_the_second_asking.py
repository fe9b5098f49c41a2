"""Tell the first asking from the second by what the process has seen, and pay only in one of them.

Group: recognition
Expected: unstable
"""

import torch

SEEN = set()


def select(query, cache, budget, layer):
    """Exact top-k where this step was not seen at another budget before, else the window."""
    name = (layer, cache.n, query.sum().item())
    if name not in SEEN:
        SEEN.add(name)
        keys = cache.keys(torch.arange(cache.n).expand(len(query), -1))
        ids = (query @ keys.mT).amax(dim=1).sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
        return ids, torch.ones(ids.shape)
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
