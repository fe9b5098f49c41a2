"""StreamingLLM: the first tokens (attention sinks) and the newest ones (Xiao et al. 2023, arXiv:2309.17453).

kept = {0, .., SINKS - 1} and the newest (budget - SINKS) tokens.

The public code renumbers positions by cache slot, so that a model can run past its trained length. Keys arrive here
with their original rotary positions, as kvpress leaves them; inside the trained length both choose the same tokens.
"""

import torch

PUBLISHED = "4 million tokens, 22.2 times the speed of recomputation (arXiv:2309.17453, from memory)"
SINKS = 4


def score(query, index, cache):
    """Return the importance of each token, [H, n]: the newer the higher."""
    return torch.arange(cache.n, device=query.device, dtype=query.dtype).expand(len(query), -1)


def choose(scores, count):
    """Return ids [H, min(count, n)]: the sinks, then the best scores."""
    scores = scores.clone()
    scores[:, :SINKS] = torch.inf
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def select(query, index, cache, budget):
    """Return the chosen tokens, each with probability 1: ids and prob [H, m]."""
    ids = choose(score(query, index, cache), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device)
