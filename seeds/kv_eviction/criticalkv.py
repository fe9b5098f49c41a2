"""CriticalKV: attention alone, then times a value's effect on the output (Feng et al. 2025, arXiv:2502.03805).

Half of the budget goes to the best SnapKV scores s, half to the best of the rest by (s + EPSILON) |W_O v|_1. A KV head
averages the norm over the query heads of its group. The newest tokens stay outside of both halves.

With a head budget per layer this becomes the paper's Ada variant (CriticalAdaKV).
"""

import torch

PUBLISHED = "none that can be held against ours"
WINDOW = 32
KERNEL = 5
FIRST = 0.5
EPSILON = 1e-4


def observe(keys, queries, window):
    """Return the causal softmax attention of the last `window` queries, [H, G, w, n]."""
    n, d = keys.shape[1:]
    logits = queries[:, :, -window:] @ keys[:, None].mT / d**0.5
    place = torch.arange(n, device=keys.device)
    return logits.masked_fill(place > place[-window:, None], -torch.inf).softmax(dim=-1)


def pool(attention, size):
    """Return the maximum over `size` neighbours, of the shape of `attention` [H, G, n]."""
    return torch.nn.functional.max_pool1d(attention, size, stride=1, padding=size // 2)[..., : attention.shape[-1]]


def weigh(values, wo):
    """Return the L1 norm of each value behind the output projection, mean over the group, [H, n]."""
    return torch.stack([(values @ one).abs().sum(dim=-1) for one in wo.unbind(dim=1)]).mean(dim=0)


def score(keys, values, queries, wo, budget):
    """Return the importance of each token, [H, n]."""
    recent = min(WINDOW, budget.tokens // 2)
    prefix = keys.shape[1] - recent
    attention = observe(keys, queries, WINDOW).mean(dim=2)[:, :, :prefix]
    scores = pool(attention, KERNEL).mean(dim=1)
    first = int(FIRST * (budget.tokens - recent))
    best = scores.sort(dim=1, descending=True, stable=True).indices[:, :first]
    scores = (scores + EPSILON) * weigh(values[:, :prefix], wo)
    return torch.nn.functional.pad(scores.scatter(1, best, torch.inf), (0, recent), value=torch.inf)
