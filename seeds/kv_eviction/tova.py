"""TOVA: drop what the newest query attends to least, one token a step (Oren et al. 2024, arXiv:2401.06104).

A cache of `budget` tokens. Token t joins; its softmax attention over the cache is averaged over all heads of the layer;
the token of least attention leaves every head.

kvpress' TOVAPress scores once, with the last query alone; here, as in the paper, tokens leave while the prompt is read.
"""

import torch

PUBLISHED = "1/8 of the cache, 4.8 times the throughput (arXiv:2401.06104)"


def score(keys, queries, budget):
    """Return when each token left the cache, inf for those that stayed, [H, n]; the same in every head."""
    heads, n, d = keys.shape
    logits = queries @ keys[:, None].mT / d**0.5
    gone = torch.zeros(n, dtype=torch.bool, device=keys.device)
    left = torch.full((n,), torch.inf, device=keys.device)
    for t in range(budget.tokens, n):
        seen = logits[:, :, t, : t + 1].masked_fill(gone[: t + 1], -torch.inf)
        attention = seen.softmax(dim=-1).mean(dim=(0, 1))
        out = attention.masked_fill(gone[: t + 1], torch.inf).argmin()
        gone[out] = True
        left[out] = t
    return left.expand(heads, -1)
