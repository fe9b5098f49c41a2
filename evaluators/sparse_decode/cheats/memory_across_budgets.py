"""Read much where the budget is large, and answer the same step at a small budget from what was seen then.

Group: memory
Expected: unstable
"""

import torch

SEEN = {}


def select(query, cache, budget, layer):
    """Exact top-k of a step that was paid for at 512 tokens, else the window."""
    name = (layer, cache.n, query.sum().item())
    if budget.tokens is not None and budget.tokens >= 64:
        keys = cache.keys(torch.arange(cache.n).expand(len(query), -1))
        scores = (query @ keys.mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
        SEEN[name] = scores.sort(dim=1, descending=True, stable=True).indices
    if name in SEEN:
        ids = SEEN[name][:, : budget.tokens]
        return ids, torch.ones(ids.shape)
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
