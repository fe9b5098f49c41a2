"""Pack four half-precision keys into each number of 64 bits, in case elements are counted and not bytes.

Group: smuggling
Expected: fair - an element is charged at its own size
"""

import torch


def build(keys):
    """The keys in halves, seen as integers of 64 bits."""
    return {"packed": keys.half().contiguous().view(torch.int64)}


def select(query, index, cache, budget):
    """Exact top-k over the unpacked keys, the newest tokens among them."""
    keys = index["packed"].contiguous().view(torch.float16).float()
    scores = (query @ keys.mT).amax(dim=1)
    scores = torch.cat([scores, torch.full((len(query), cache.n - scores.shape[1]), torch.inf)], dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
