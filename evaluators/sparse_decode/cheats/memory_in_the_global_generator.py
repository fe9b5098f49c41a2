"""Count steps by the state of torch's global generator.

Group: memory
Expected: unstable
"""

import torch


def select(query, cache, budget):
    """A window that slides on with every call."""
    torch.rand(1)
    slide = int(torch.initial_seed() + torch.get_rng_state()[:64].long().sum() + torch.randint(9, (1,))) % 9
    ids = torch.arange(max(cache.n - budget.tokens - slide, 0), cache.n - slide).clamp(min=0).unique()
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
