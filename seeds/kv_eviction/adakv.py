"""AdaKV: the heads of a layer compete for one budget (Feng et al. 2024, arXiv:2407.11550).

SnapKV's scores; of all heads' scores of a layer together the best H * budget stay, but every head keeps its best
SAFEGUARD * budget. Heads whose attention is spread get more.

kvpress imitates the unequal heads with fake keys, so that no memory is freed; here only what is kept is stored. The
paper keeps the newest 32 tokens (as SnapKV) outside of the competition; here at most half of the budget.
"""

import torch

PUBLISHED = "none that can be held against ours"
WINDOW = 32
KERNEL = 5
SAFEGUARD = 0.2


def observe(keys, queries, window):
    """Return the causal softmax attention of the last `window` queries, [H, G, w, n]."""
    n, d = keys.shape[1:]
    logits = queries[:, :, -window:] @ keys[:, None].mT / d**0.5
    place = torch.arange(n, device=keys.device)
    return logits.masked_fill(place > place[-window:, None], -torch.inf).softmax(dim=-1)


def pool(attention, size):
    """Return the maximum over `size` neighbours, of the shape of `attention` [H, G, n]."""
    return torch.nn.functional.max_pool1d(attention, size, stride=1, padding=size // 2)[..., : attention.shape[-1]]


def score(keys, queries, budget):
    """Return the importance of each token, [H, n]."""
    recent = min(WINDOW, budget.tokens // 2)
    prefix = keys.shape[1] - recent
    attention = observe(keys, queries, WINDOW).mean(dim=2)[:, :, :prefix]
    scores = pool(attention, KERNEL).mean(dim=1)
    return torch.nn.functional.pad(scores, (0, recent), value=torch.inf)


def allot(scores, budget):
    """Return which tokens stay, [L, H, n]: a safe share for each head, the rest to the best of the layer."""
    layers, heads, n = scores.shape
    safe = scores.sort(dim=2, descending=True, stable=True).indices[..., : int(SAFEGUARD * budget.tokens)]
    flat = scores.scatter(2, safe, torch.inf).flatten(1)
    best = flat.sort(dim=1, descending=True, stable=True).indices[:, : heads * budget.tokens]
    return torch.zeros_like(flat, dtype=torch.bool).scatter(1, best, True).view(layers, heads, n)
