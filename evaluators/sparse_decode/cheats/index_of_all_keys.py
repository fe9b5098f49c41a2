"""Put every key into the index, where reading it might be free.

Group: smuggling
Expected: fair - a whole tensor is charged at every step at its own size.
"""

import torch


def build(keys):
    """The keys as they are."""
    return {"keys": keys}


def select(query, index, cache, budget):
    """Exact top-k over the index, the newest tokens among them."""
    scores = (query @ index["keys"].mT).amax(dim=1)
    scores = torch.cat([scores, torch.full((len(query), cache.n - scores.shape[1]), torch.inf)], dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
