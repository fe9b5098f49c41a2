"""PQCache (Zhang et al. 2024, arXiv:2407.12820) with a tail from its own codebook: nobody's published method.

    score = softmax(sum_m q_m . C_m[code_m]) summed over the group,  kept = top-k;  for each cluster of the tokens left
    one pseudo-token: log-weight = log sum_j exp(estimated logit of token j), value = mean value of its tokens left.

Clusters are the first part's centroids, merged to TAIL by k-means among themselves; their mean values are in the index,
and the values of kept tokens, which are attended anyway, are taken out of them. Oracle top-k is no bound once tails are
allowed: on broad heads this can pass it. Codes as in the seed pqcache: keys behind the sinks, centred by their mean,
cut in SPACES parts of 2^BITS centroids. Index: 12 bits a token, the codebook, mean values and cluster numbers.
"""

import math

import torch

PUBLISHED = "none: nobody's method"
SPACES = 2
BITS = 6
ITERATIONS = 10
TAIL = 8
SINKS = 4
WINDOW_SHARE = 0.1


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


def pack_codes(codes):
    """Return 12-bit codes [H, n] as bytes: the low eight bits, [H, n], and the high four of two tokens in one."""
    high = torch.nn.functional.pad(codes >> 8, (0, codes.shape[1] % 2))
    return (codes & 255).byte(), (high[:, ::2] + 16 * high[:, 1::2]).byte()


def unpack_codes(low, high):
    """Return the codes [H, n] that `pack_codes` was given."""
    pairs = torch.stack([high & 15, high >> 4], dim=2).flatten(1)[:, : low.shape[1]]
    return low.long() + 256 * pairs.long()


def build(keys, values):
    """Return the codes, the codebook [H, SPACES, 2^BITS, d / SPACES] of the keys behind the sinks, and their mean;
    which of TAIL clusters each centroid of the first space belongs to, and the mean value of each cluster."""
    middle = keys[:, SINKS:] if keys.shape[1] > SINKS else keys
    mean = middle.mean(dim=1, keepdim=True)
    parts = (middle - mean).unflatten(2, (SPACES, -1)).transpose(1, 2)
    codebook = kmeans(parts, 2**BITS).clamp(-65504, 65504).half()
    low, high = pack_codes(encode(keys - mean, codebook))
    merged = nearest(codebook[:, 0].float(), kmeans(codebook[:, 0].float(), TAIL)).byte()
    index = {"low": low, "high": high, "codebook": codebook, "mean": mean, "merged": merged}
    total, size = sums(cluster(unpack_codes(low, high), merged), values)
    return {**index, "values": (total / size.clamp(min=1)).clamp(-65504, 65504).half()}


def cluster(codes, merged):
    """Return the cluster of each token, [H, n]."""
    return merged.long().gather(1, codes >> BITS)


def sums(own, x):
    """Return the sum of the rows of x [H, m, d] in each cluster, [H, TAIL, d], and their number, [H, TAIL, 1]."""
    member = torch.nn.functional.one_hot(own, TAIL).to(x.dtype).mT
    return member @ x, member.sum(dim=2, keepdim=True)


def encode(keys, codebook):
    """Return the code of each centred key [H, m, d]: the numbers of its nearest centroids, [H, m]."""
    parts = keys.unflatten(2, (SPACES, -1)).transpose(1, 2)
    places = nearest(parts, codebook.to(keys.dtype))
    return (places[:, 0] << BITS) + places[:, 1]


def append(index, keys, values):
    """Code generated keys by the same codebook, and take their values into the clusters' means."""
    codes = unpack_codes(index["low"], index["high"])
    fresh = encode(keys - index["mean"], index["codebook"])
    low, high = pack_codes(torch.cat([codes, fresh], dim=1))
    before = torch.nn.functional.one_hot(cluster(codes, index["merged"]), TAIL).sum(dim=1)[..., None]
    total, size = sums(cluster(fresh, index["merged"]), values)
    means = (index["values"].to(values.dtype) * before + total) / (before + size).clamp(min=1)
    return {**index, "low": low, "high": high, "values": means.clamp(-65504, 65504).half()}


def estimate(query, index, cache):
    """Return the logits that codes and codebook give, [H, G, n], and the codes [H, n] of all visible tokens."""
    stored = {name: index[name] for name in ("low", "high", "codebook", "mean")}
    codes = unpack_codes(stored["low"], stored["high"])
    newest = torch.arange(codes.shape[1], cache.n, device=query.device).expand(len(query), -1)
    fresh = encode(cache.keys(newest) - stored["mean"], stored["codebook"])
    codes = torch.cat([codes, fresh], dim=1)
    parts = query.unflatten(2, (SPACES, -1)).transpose(1, 2)  # [H, SPACES, G, d / SPACES]
    table = parts @ stored["codebook"].to(query.dtype).mT / query.shape[2] ** 0.5
    both = (table[:, 0, :, :, None] + table[:, 1, :, None]).flatten(2)  # [H, G, 4^BITS]
    return both.gather(2, codes[:, None].expand(-1, query.shape[1], -1)), codes


def score(query, index, cache):
    """Return the softmax of the estimated logits summed over the group, [H, n]."""
    return estimate(query, index, cache)[0].softmax(dim=-1).sum(dim=1)


def choose(scores, count):
    """Return ids [H, min(count, n)]: the sinks, the window, then the best scores."""
    window = math.ceil(WINDOW_SHARE * count)
    scores = scores.clone()
    scores[:, :SINKS] = torch.inf
    scores[:, max(scores.shape[1] - window, 0) :] = torch.inf
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def codebook_tail(query, logits, codes, index, cache, ids):
    """Return log-weights [H, G, r] and values [H, r, d] of the tokens that are not in ids, or None if there are none.

    A cluster weighs what the estimated logits of its tokens left give, and its value is the mean of theirs; that of
    tokens newer than the index counts as their cluster's.
    """
    if ids.shape[1] == cache.n:
        return None
    own = cluster(codes, index["merged"])
    logits = logits + query @ index["mean"].mT / query.shape[2] ** 0.5  # codes stand for centred keys
    logits = logits.scatter(2, ids[:, None].expand(-1, logits.shape[1], -1), -torch.inf)
    peak = logits.amax(dim=2, keepdim=True)
    member = torch.nn.functional.one_hot(own, TAIL).to(logits.dtype)  # [H, n, r]
    weights = ((logits - peak).exp() @ member).log() + peak
    covered, means = index["low"].shape[1], index["values"].to(logits.dtype)
    kept = member.gather(1, ids[..., None].expand(-1, -1, TAIL)) * (ids < covered)[..., None]
    size, gone = member[:, :covered].sum(dim=1)[..., None], kept.sum(dim=1)[..., None]
    left = (means * size - kept.mT @ cache.values(ids)) / (size - gone).clamp(min=1)
    return weights, torch.where(size > gone, left, means)


def select(query, index, cache, budget):
    """Return the chosen tokens, each with probability 1, and the tail: ids and prob [H, m]."""
    logits, codes = estimate(query, index, cache)
    ids = choose(logits.softmax(dim=-1).sum(dim=1), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device), codebook_tail(query, logits, codes, index, cache, ids)
