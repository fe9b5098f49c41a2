"""Uniform sampling: b of the n tokens at random, each weighted by n / b (the plain estimator of Horvitz and Thompson
1952, as used for attention by MagicPIG, Chen et al. 2024, arXiv:2410.16179, section 3, and by vAttention, 2025).

N = (n / b) sum_sample w v,  D = (n / b) sum_sample w,  out = N / D;  P(token in sample) = b / n.

Both sums use the same sample, which makes the ratio consistent with a bias of O(1 / b). Public code (the Sparse
Attention Hub) draws with replacement, drops repeats, and keeps the weight n / b, which biases both sums low; here the
draw is without replacement.
"""

import torch

PUBLISHED = "none: a baseline"


def sample(fixed, n, counts, rng):
    """Draw uniformly, without replacement, from the tokens below n that are not in `fixed`.

    fixed [H, k] distinct ids; counts int [H]. Returns ids [H, max(counts)], -1 beyond a head's count, and their prob.
    """
    left = n - fixed.shape[1]
    counts = counts.clamp(max=left)
    order = torch.rand(len(fixed), n, generator=rng, device=fixed.device).scatter(1, fixed, -1.0)
    ids = order.topk(int(counts.max()), dim=1).indices
    unused = torch.arange(ids.shape[1], device=ids.device) >= counts[:, None]
    prob = (counts / max(left, 1))[:, None].expand(ids.shape)
    return ids.masked_fill(unused, -1), prob.masked_fill(unused, 1.0)


def select(query, cache, budget, rng):
    """Return a sample of budget.tokens tokens and its inclusion probability: ids and prob [H, m]."""
    fixed = torch.empty(len(query), 0, dtype=torch.long, device=query.device)
    counts = torch.full((len(query),), budget.tokens, device=query.device)
    return sample(fixed, cache.n, counts, rng)
