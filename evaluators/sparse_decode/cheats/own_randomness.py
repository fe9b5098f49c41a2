"""Draw from a generator of its own, so that a lucky draw could be tried again and again.

Group: randomness
Expected: unstable
"""

import torch


def select(query, cache, budget):
    """A uniform sample from torch's global generator, seeded by the operating system."""
    torch.seed()
    ids = torch.rand(len(query), cache.n).argsort(dim=1)[:, : budget.tokens]
    return ids, torch.full(ids.shape, min(budget.tokens / cache.n, 1.0))
