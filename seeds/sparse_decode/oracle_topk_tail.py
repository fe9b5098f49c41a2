"""Oracle top-k with a centroid tail: the tokens of largest true attention, and TAIL centroids for all others.

    kept = top-k of sum_g softmax(q_g K' / sqrt(d));  the rest is clustered by k-means on its keys; a cluster of c
    tokens is one pseudo-token: log-weight q . mean key / sqrt(d) + log c, value = mean value.

Nobody's published method, a line for plots: it reads every key and value at every step. Oracle top-k (for example in
Desai et al. 2024, arXiv:2412.14468) is no bound once tails are allowed, and this shows by how much. Nor is this one:
means under-state a cluster's mass (Jensen), and clusters are not chosen for the query.
"""

import torch

PUBLISHED = "none: nobody's method"
REFERENCE = True
TAIL = 32
ITERATIONS = 10


def score(query, index, cache):
    """Return the true attention of each token summed over the group, [H, n]. Reads every key."""
    everything = torch.arange(cache.n, device=query.device).expand(len(query), -1)
    logits = query @ cache.keys(everything).mT / query.shape[-1] ** 0.5
    return logits.softmax(dim=-1).sum(dim=1)


def choose(scores, count):
    """Return ids [H, min(count, n)] of the best scores."""
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def kmeans(x, count):
    """Return `count` centroids of each set of points x [..., m, s], [..., count, s], from evenly spaced points on."""
    spread = torch.linspace(0, x.shape[-2] - 1, count, device=x.device).round().long()
    centroids = x[..., spread, :]
    for _ in range(ITERATIONS):
        own = nearest(x, centroids)[..., None].expand(x.shape)
        total = torch.zeros_like(centroids).scatter_add(-2, own, x)
        size = torch.zeros_like(centroids).scatter_add(-2, own, torch.ones_like(x))
        centroids = torch.where(size > 0, total / size, centroids)
    return centroids


def nearest(x, centroids):
    """Return the nearest centroid [..., m] of each point x [..., m, s]."""
    return (centroids.square().sum(dim=-1)[..., None, :] / 2 - x @ centroids.mT).argmin(dim=-1)


def centroid_tail(query, cache, ids):
    """Return log-weights [H, G, r] and values [H, r, d] of the tokens that are not in ids, or None if there are none.

    A pseudo-token has the mean key and the mean value of its cluster, and counts as often as the cluster has tokens.
    """
    heads, n = len(query), cache.n
    if ids.shape[1] >= n:
        return None
    rest = torch.ones(heads, n, device=query.device).scatter(1, ids, 0.0)
    rest = rest.sort(dim=1, descending=True, stable=True).indices[:, : n - ids.shape[1]]
    keys, values = cache.keys(rest), cache.values(rest)
    count = min(TAIL, rest.shape[1])
    mean = keys.mean(dim=1, keepdim=True)
    own = nearest(keys - mean, kmeans(keys - mean, count))
    member = torch.nn.functional.one_hot(own, count).to(keys.dtype).mT  # [H, r, m]
    size = member.sum(dim=2, keepdim=True)
    centroids, means = (member @ keys / size.clamp(min=1), member @ values / size.clamp(min=1))
    return query @ centroids.mT / query.shape[-1] ** 0.5 + size.mT.log(), means


def select(query, index, cache, budget):
    """Return the chosen tokens, each with probability 1, and the tail: ids and prob [H, m]."""
    ids = choose(score(query, index, cache), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device), centroid_tail(query, cache, ids)
