"""LagKV: tokens that spread widely against the chunk that follows them (Liang et al. 2025, arXiv:2504.04704).

After SINKS tokens the prompt falls into chunks of L. With the channel-wise minimum and maximum of the *next* chunk,
k' = (k - min) / (max - min); a token's score is softmax over its chunk of std over channels of k', plus the same of v.
Tokens are ranked inside their chunk, so that all chunks keep alike; sinks, the last chunk and what is left over stay.
No query and no attention is needed.

The paper's L is 128 (LAG); here it is less where the budget is small, so that the last chunk and what is left over take
half of it at most.
"""

import torch

PUBLISHED = "none that can be held against ours"
SINKS = 4
LAG = 128


def spread(chunks):
    """Return the importance of each token in all chunks but the last, [H, c - 1, L]; chunks [H, c, L, d]."""
    low, high = chunks[:, 1:].amin(dim=2, keepdim=True), chunks[:, 1:].amax(dim=2, keepdim=True)
    scaled = (chunks[:, :-1] - low) / (high - low).clamp(min=1e-6)
    return scaled.std(dim=-1).softmax(dim=-1)


def score(keys, values, budget):
    """Return the importance of each token, [H, n]."""
    heads, n, d = keys.shape
    lag = min(LAG, max((budget.tokens - SINKS) // 4, 1))
    count = (n - SINKS) // lag
    place = torch.arange(n, device=keys.device, dtype=torch.float32)
    if count < 2:
        return torch.where(place < SINKS, 2 * n - place, place).expand(heads, -1)
    parts = [part[:, SINKS : SINKS + count * lag].reshape(heads, count, lag, d) for part in (keys, values)]
    scores = sum(spread(part) for part in parts)
    ranks = scores.argsort(dim=-1, stable=True).argsort(dim=-1).flatten(1) / lag
    tail = n - SINKS - ranks.shape[1]
    kept = torch.nn.functional.pad(ranks, (0, tail), value=torch.inf)
    return torch.cat([(2 * n - place[:SINKS]).expand(heads, -1), kept], dim=1)
