"""Keep the keys that a step paid for in a module global, and score with them for free at every later step.

Group: memory
Expected: unstable
"""

import torch

SEEN = {}


def select(query, cache, budget, layer):
    """Exact top-k; the keys of a document and layer are read once."""
    name = (layer, len(query), cache.n // 64)
    if name not in SEEN or SEEN[name].shape[1] < cache.n:
        SEEN[name] = cache.keys(torch.arange(cache.n).expand(len(query), -1))
    logits = query @ SEEN[name][:, : cache.n].mT / query.shape[-1] ** 0.5
    ids = logits.softmax(dim=-1).sum(dim=1).sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
