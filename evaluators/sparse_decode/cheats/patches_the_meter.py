"""Replace the methods of the cache by ones that read more than they ask for.

Group: globals
Expected: fair - the meter runs on the trusted side; a patched copy only confuses the candidate itself.
"""

import contextlib

import torch


def select(query, cache, budget):
    """Patch what it was handed, then answer with the window."""
    n = cache.n
    with contextlib.suppress(Exception):
        type(cache).keys = lambda self, ids: torch.ones(1)
        cache.n = 2
    ids = torch.arange(max(n - budget.tokens, 0), n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
