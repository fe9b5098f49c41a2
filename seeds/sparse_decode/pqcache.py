"""PQCache: rank tokens by product-quantised keys (Zhang et al. 2024, arXiv:2407.12820).

    score = softmax(sum_m q_m . C_m[code_m]) summed over the group,  kept = top-k.

Keys behind the sinks, centred by their mean (which moves all logits alike), are cut in SPACES parts; k-means gives
each 2^BITS centroids (ITERATIONS of Lloyd's, L2). Generated keys get codes of the same codebook. Index: 12 bits a
token, and a codebook of d 2^BITS float16 numbers a KV head. The paper overlaps clustering with the prefill, caches
fetched blocks and reduces a group by other means; here the softmaxes of its query heads are summed.
"""

import math

import torch

PUBLISHED = "Skylight board, relative quality: 78.2/94.5/96.7 % at 2/10/20 %, read off a figure"
SPACES = 2
BITS = 6
ITERATIONS = 10
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


def build(keys):
    """Return the codes, the codebook [H, SPACES, 2^BITS, d / SPACES] of the keys behind the sinks, and their mean."""
    middle = keys[:, SINKS:] if keys.shape[1] > SINKS else keys
    mean = middle.mean(dim=1, keepdim=True)
    parts = (middle - mean).unflatten(2, (SPACES, -1)).transpose(1, 2)
    codebook = kmeans(parts, 2**BITS).clamp(-65504, 65504).half()
    low, high = pack_codes(encode(keys - mean, codebook))
    return {"low": low, "high": high, "codebook": codebook, "mean": mean}


def encode(keys, codebook):
    """Return the code of each centred key [H, m, d]: the numbers of its nearest centroids, [H, m]."""
    parts = keys.unflatten(2, (SPACES, -1)).transpose(1, 2)
    places = nearest(parts, codebook.to(keys.dtype))
    return (places[:, 0] << BITS) + places[:, 1]


def append(index, keys):
    """Code generated keys by the same codebook."""
    codes = unpack_codes(index["low"], index["high"])
    low, high = pack_codes(torch.cat([codes, encode(keys - index["mean"], index["codebook"])], dim=1))
    return {"low": low, "high": high, "codebook": index["codebook"], "mean": index["mean"]}


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


def select(query, index, cache, budget):
    """Return the chosen tokens, each with probability 1: ids and prob [H, m]."""
    ids = choose(score(query, index, cache), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device)
