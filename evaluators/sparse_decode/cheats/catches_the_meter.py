"""Read what is forbidden, catch the error, and go on as if nothing had happened.

Group: reads
Expected: wrong
"""

import contextlib

import torch


def select(query, cache, budget):
    """Swallow the fault of a read beyond the cache, then answer by the rules."""
    with contextlib.suppress(BaseException):
        cache.keys(torch.full((len(query), 1), cache.n))
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
