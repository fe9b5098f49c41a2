"""KVCompose: heads choose their own tokens, layers compete for how many (Akulov et al. 2025, arXiv:2509.05165).

From a second pass over the context: for each query head the largest attention to token j over all queries, mean over
the group, plus the mean of that over the layer's heads. Each head sorts its scores; the composite token of rank r is
worth the mean over heads of their r-th scores; the best (layer, rank) over all layers say how many ranks a layer keeps,
and every head keeps its own best so many. The cache stays rectangular. Layer 0 is made worth as much as any.
"""

import torch

PUBLISHED = "none that can be held against ours"


def recall(keys, repeat, repeat_mass):
    """Return the attention of the second pass to the context, [H, G, r, n]."""
    logits = repeat @ keys[:, None].mT / keys.shape[-1] ** 0.5
    mass = torch.logaddexp(logits.logsumexp(dim=-1), repeat_mass)
    return (logits - mass[..., None]).exp()


def score(keys, repeat, repeat_mass):
    """Return the importance of each token, [H, n]."""
    scores = recall(keys, repeat, repeat_mass).amax(dim=2).mean(dim=1)
    return scores + scores.mean(dim=0, keepdim=True)


def allot(scores, budget, layers):
    """Return which tokens stay, [L, H, n]: as many in every head of a layer."""
    ranked = scores.sort(dim=2, descending=True, stable=True)
    worth = ranked.values.mean(dim=1)  # [L, n], falling with the rank
    if 0 in layers:
        worth[layers.index(0)] = worth.amax(dim=0)
    best = worth.flatten().sort(descending=True, stable=True).indices[: len(layers) * budget.tokens]
    counts = torch.bincount(best // worth.shape[1], minlength=len(layers))
    kept = torch.arange(worth.shape[1], device=scores.device) < counts[:, None, None]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(2, ranked.indices, kept.expand(scores.shape))
