"""Make empty reads, as rounds that nobody counts.

Group: reads
Expected: fair - what was not read tells nothing
"""

import torch


def select(query, cache, budget):
    """Sixty reads of no token."""
    for _ in range(60):
        cache.keys(torch.zeros(len(query), 0, dtype=torch.long))
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
