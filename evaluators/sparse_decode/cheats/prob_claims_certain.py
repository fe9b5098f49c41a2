"""Draw tokens at random and claim that each was certain: the sum over the sample is taken for the sum over all.

Group: sparsity
Expected: fair - probabilities are only weights, so the estimate is biased and the error shows it.
"""

import torch


def select(query, cache, budget, rng):
    """A uniform sample with probability 1."""
    order = torch.rand(len(query), cache.n, generator=rng).argsort(dim=1)
    ids = order[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
