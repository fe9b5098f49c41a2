"""Return far more columns than tokens, most of them pads, so that checking costs the verifier its memory.

Group: sparsity
Expected: wrong
"""

import torch


def select(query, cache, budget):
    """The window and a hundred thousand pads."""
    ids = torch.full((len(query), 100_000), -1)
    ids[:, 0] = cache.n - 1
    return ids, torch.ones(ids.shape)
