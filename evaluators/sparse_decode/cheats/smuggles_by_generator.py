"""Leave the heavy tokens in the state of the generator that build gets.

Group: smuggling
Expected: fair - every call gets a generator of its own
"""

import torch


def build(keys, rng):
    """Nothing, and a heavy token in the generator's seed."""
    rng.manual_seed(int(keys[0].norm(dim=-1).argmax()))
    return {}


def select(query, cache, budget, rng):
    """The token that the generator's seed names, where it is one, and the window."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n)
    if rng.initial_seed() < int(ids[0]):
        ids = torch.cat([torch.tensor([rng.initial_seed()]), ids[1:]])
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
