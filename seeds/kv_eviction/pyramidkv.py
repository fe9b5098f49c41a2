"""PyramidKV: SnapKV with more tokens for early layers than for late ones (Cai et al. 2024, arXiv:2406.02069).

With C the budget and W the newest tokens that stay anyway, min = (C - W) / BETA and max = 2 (C - W) - min, layer l of
L keeps W + max - (max - min) l / (L - 1) tokens a head; scores are SnapKV's.

Where only some layers are at hand, the line is shifted so that they keep C on average. kvpress falls back to SnapKV
where the line leaves the context; here it is cut there, and what that frees goes to the layers with room, early first.
WINDOW is the paper's 8, at most half of the budget.
"""

import torch

PUBLISHED = "full quality with 12 % of the cache (arXiv:2406.02069, from memory)"
WINDOW = 8
KERNEL = 5
BETA = 20


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


def schedule(budget, layers, depth, n):
    """Return how many tokens a head of each layer keeps: ints that sum to budget.tokens * len(layers)."""
    spread = budget.tokens - min(WINDOW, budget.tokens // 2)
    step = (2 * spread - 2 * spread / BETA) / max(depth - 1, 1)
    middle = sum(layers) / len(layers)
    counts = [min(max(int(budget.tokens + step * (middle - layer)), 0), n) for layer in layers]
    early = sorted(range(len(layers)), key=lambda place: layers[place])
    while (rest := budget.tokens * len(layers) - sum(counts)) != 0:
        room = [place for place in early if (counts[place] < n if rest > 0 else counts[place] > 0)]
        for place in room[: abs(rest)]:
            counts[place] += 1 if rest > 0 else -1
    return counts


def allot(scores, budget, layers, depth):
    """Return which tokens stay, [L, H, n]."""
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for place, count in enumerate(schedule(budget, layers, depth, scores.shape[2])):
        best = scores[place].sort(dim=1, descending=True, stable=True).indices[:, :count]
        kept[place].scatter_(1, best, True)
    return kept
