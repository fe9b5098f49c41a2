"""Write the prompt's keys into the parameters in build and read them in select.

Group: smuggling
Expected: fair - each call gets the parameters from the trusted side
"""

import torch


def build(keys, params):
    """Nothing, and every key among the parameters."""
    params["keys"] = keys
    return {}


def select(query, cache, budget, params):
    """Exact top-k over smuggled keys; the window where there are none."""
    if "keys" in params:
        ids = (query @ params["keys"].mT).amax(dim=1).argsort(dim=1, descending=True)[:, : budget.tokens]
        return ids, torch.ones(ids.shape)
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
