"""Read at the first and the last questions and use memory in between, against passes that run in opposite orders.

Group: memory
Expected: unstable
"""

import torch

STATE = {"calls": 0}


def select(query, cache, budget, layer):
    """Exact top-k; the keys come from memory in the middle half of a pass."""
    STATE["calls"] += 1
    everything = torch.arange(cache.n).expand(len(query), -1)
    text = (layer, cache.n // 64)
    if text not in STATE or not 5 < STATE["calls"] <= 15 or STATE[text].shape[1] < cache.n:
        STATE[text] = cache.keys(everything)
    scores = (query @ STATE[text][:, : cache.n].mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
