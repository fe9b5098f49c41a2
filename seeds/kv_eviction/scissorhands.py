"""Scissorhands: what was unimportant stays unimportant (Liu et al. 2023, arXiv:2305.17118, algorithm 2).

While the prompt is read, each time the cache is full: over the last HISTORY queries, count for every token how often
its attention was below the average, 1 / (tokens seen); drop the tokens of highest count, but none of the RECENT newest.

A KV head counts over its query heads. The paper drops from `budget` tokens to half of them; here from one and a half
budgets to one, so that what the prompt leaves is the budget. RECENT is the paper's 10, at most half of the budget.
KVCache-Factory offers a sampled choice and a decay as well.
"""

import torch

PUBLISHED = "5 times less memory (arXiv:2305.17118, from memory)"
HISTORY = 400
RECENT = 10
DROP = 0.5


def score(keys, queries, budget):
    """Return when each token was dropped, inf for those that stayed, [H, n]."""
    heads, n, d = keys.shape
    size, drop = budget.tokens, max(1, int(DROP * budget.tokens))
    place = torch.arange(n, device=keys.device)
    logits = queries @ keys[:, None].mT / d**0.5
    left = torch.full((heads, n), torch.inf, device=keys.device)
    low = torch.zeros(heads, n, n, device=keys.device)  # by query and token, how many query heads found it light
    start = 0
    for stop in reversed(range(n, size, -drop)):
        seen = (place <= place[start:stop, None]) & left.isinf()[:, None]  # [H, m, n]
        attention = logits[:, :, start:stop].masked_fill(~seen[:, None], -torch.inf).softmax(dim=-1)
        light = (attention < 1 / seen.sum(dim=-1)[:, None, :, None]) & seen[:, None]
        low[:, start:stop] = light.sum(dim=1).float()
        count = low[:, max(stop - HISTORY, 0) : stop].sum(dim=1)
        here = (place < stop - min(RECENT, size // 2)) & left.isinf()
        excess = int((left.isinf()[0] & (place < stop)).sum()) - size
        out = count.masked_fill(~here, -1.0).sort(dim=1, descending=True, stable=True).indices[:, :excess]
        left.scatter_(1, out, float(stop))
        start = stop
    return left
