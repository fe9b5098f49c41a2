"""Oracle top-p: for each head the fewest tokens that hold a share p of the true attention outside the sinks.

a = softmax(q K' / sqrt(d)) summed over the group; sinks are kept; of the rest, sorted by a, the least set whose share
of the rest's mass reaches p (the "oracle-top-p" of the Sparse Attention Hub; the rule of Twilight, Lin et al. 2025,
arXiv:2502.02770).

p is common to all heads: here it is the largest for which the layer's KV heads together keep at most H * budget
tokens, so that flat heads get more of them than peaked ones. The hub fixes p and lets the count vary, for each query
head alone.
"""

import torch

PUBLISHED = (
    "RULER-HARD-32K six-task mean, Llama-3.1-8B, dense 87.9 (Skylight experiments): 86.1/87.0/87.5/87.6 "
    "at 2.7/5/10/20 %"
)
REFERENCE = True
SINKS = 4


def score(query, index, cache):
    """Return the true attention of each token summed over the group, [H, n]. Reads every key."""
    everything = torch.arange(cache.n, device=query.device).expand(len(query), -1)
    logits = query @ cache.keys(everything).mT / query.shape[-1] ** 0.5
    return logits.softmax(dim=-1).sum(dim=1)


def choose(scores, count):
    """Return ids [H, m], -1 pads: H * count tokens over all heads, shared out by one p. scores are attention shares."""
    heads, n = scores.shape
    mass = scores.clone()
    mass[:, :SINKS] = 0.0
    mass, order = mass.sort(dim=1, descending=True, stable=True)
    before = (mass.cumsum(dim=1) - mass) / mass.sum(dim=1, keepdim=True).clamp(min=1e-30)
    before = torch.where(order < SINKS, order - SINKS, before)  # the share p above which a token is kept
    kept = torch.zeros(heads * n, dtype=torch.bool, device=scores.device)
    kept[before.flatten().sort(stable=True).indices[: heads * count]] = True
    ids = order.masked_fill(~kept.view(heads, n), -1)
    return ids.sort(dim=1, descending=True).values[:, : int(kept.view(heads, n).sum(dim=1).max())]


def select(query, index, cache, budget):
    """Return the chosen tokens, each with probability 1: ids and prob [H, m]."""
    ids = choose(score(query, index, cache), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device)
