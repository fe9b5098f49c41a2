"""H2O: heavy hitters and recent tokens, evicted one by one as the prompt is read (Zhang et al. 2023, arXiv:2306.14048).

A cache of `budget` tokens. Token t joins; its attention over the cache is added to every cached token's sum; then the
token of smallest sum leaves, unless it is among the RECENT share of newest ones. A KV head adds over its query heads.

kvpress' ObservedAttention runs once over full attention and divides a token's sum by how many queries saw it; here,
as in the paper, what left is seen by nobody afterwards, and sums favour old tokens.
"""

import torch

PUBLISHED = "29 and 3 times the throughput of Accelerate and FlexGen (arXiv:2306.14048)"
RECENT = 0.5


def score(keys, queries, budget):
    """Return when each token left the cache, inf for those that stayed, [H, n]."""
    heads, n, d = keys.shape
    size = budget.tokens
    recent = int(RECENT * size)
    logits = queries @ keys[:, None].mT / d**0.5
    seen = torch.ones(n, n, dtype=torch.bool, device=keys.device).tril()
    first = logits[:, :, :size].masked_fill(~seen[:size], -torch.inf)
    mass = first.softmax(dim=-1).sum(dim=(1, 2))  # [H, n], while the cache fills
    gone = torch.ones(heads, n, dtype=torch.bool, device=keys.device)
    gone[:, :size] = False
    left = torch.full((heads, n), torch.inf, device=keys.device)
    head = torch.arange(heads, device=keys.device)
    for t in range(size, n):
        gone[:, t] = False
        attention = logits[:, :, t, : t + 1].masked_fill(gone[:, None, : t + 1], -torch.inf).softmax(dim=-1)
        mass[:, : t + 1] += attention.sum(dim=1)
        old = slice(0, t + 1 - recent)
        out = mass[:, old].masked_fill(gone[:, old], torch.inf).argmin(dim=1)
        gone[head, out] = True
        left[head, out] = t
    return left
