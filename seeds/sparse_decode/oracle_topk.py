"""Oracle top-k: the tokens of largest true attention, found by reading every key.

a_g = softmax(q_g K' / sqrt(d)) for each query head g of the group;  kept = top-k of sum_g a_g.

What predictors such as Quest, HashAttention and PQCache try to reach (for example the "oracle" of Desai et al. 2024,
arXiv:2412.14468). It is not a bound: sampling and tails can beat it. One set serves the whole group; the Sparse
Attention Hub chooses one a query head, which at the same count reads up to G times as many tokens.
"""

import torch

PUBLISHED = (
    "RULER-HARD-32K six-task mean, Llama-3.1-8B, dense 87.9 (Skylight experiments): 74.1/83.8/86.4/86.9 at 2/5/10/20 %"
)
REFERENCE = True


def score(query, index, cache):
    """Return the true attention of each token summed over the group, [H, n]. Reads every key."""
    everything = torch.arange(cache.n, device=query.device).expand(len(query), -1)
    logits = query @ cache.keys(everything).mT / query.shape[-1] ** 0.5
    return logits.softmax(dim=-1).sum(dim=1)


def choose(scores, count):
    """Return ids [H, min(count, n)] of the best scores."""
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def select(query, index, cache, budget):
    """Return the chosen tokens, each with probability 1: ids and prob [H, m]."""
    ids = choose(score(query, index, cache), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device)
