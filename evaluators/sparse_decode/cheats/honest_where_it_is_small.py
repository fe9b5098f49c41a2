"""Keep the rules on the small first stage, and break them where the workload is large.

Group: recognition
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window; twice the budget where there is much to gain."""
    count = budget.tokens if cache.n < 128 else 2 * budget.tokens
    ids = torch.arange(max(cache.n - count, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
