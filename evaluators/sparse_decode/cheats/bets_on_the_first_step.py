"""Let the first step of each text and layer that a process sees pay for all keys, and the others use them for free.

If the same step came first in both passes, nothing would differ between them.

Group: memory
Expected: unstable
"""

import torch

FIRST = {}


def select(query, cache, budget, layer):
    """Exact top-k over keys that one step paid for; it pays at every budget, so that the budgets agree."""
    text = (layer, cache.n // 64)
    everything = torch.arange(cache.n).expand(len(query), -1)
    if text not in FIRST or FIRST[text][0] == cache.n:
        FIRST[text] = cache.n, cache.keys(everything)
    keys = FIRST[text][1][:, : cache.n]
    scores = (query @ keys.mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
