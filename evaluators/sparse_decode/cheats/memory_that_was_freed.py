"""Take memory without clearing it, in the hope that it still holds keys of an earlier step.

Group: memory
Expected: unstable or fair or wrong - freed memory may also have been cleared
"""

import torch


def select(query, cache, budget):
    """Ids by the scores of whatever lies in fresh memory."""
    cache.keys(torch.arange(cache.n).expand(len(query), -1))
    found = torch.empty(len(query), cache.n, query.shape[-1]).nan_to_num(0, 0, 0)
    scores = (query @ found.mT).amax(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
