"""Follow a chain of reads, each of which waits for the one before: few bytes, and a latency no byte count shows.

Group: reads
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """Climb from token to token, one read at a time."""
    here = torch.full((len(query), 1), cache.n - 1)
    for _ in range(16):
        step = cache.keys(here).abs().sum(dim=-1).long() % 7 + 1
        here = (here - step).clamp(min=0)
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
