"""StreamingLLM: the first tokens (attention sinks) and the newest ones (Xiao et al. 2023, arXiv:2309.17453).

kept = {0, .., SINKS - 1} and the newest (budget - SINKS) tokens; positions are renumbered by cache slot.

kvpress keeps the original positions unless it is wrapped in its KeyRerotationPress; here, as in the paper, the kept
keys are turned to their slots (REANCHOR) and the question follows right behind them.
"""

import torch

PUBLISHED = "4 million tokens, 22.2 times the speed of recomputation (arXiv:2309.17453, from memory)"
REANCHOR = True
SINKS = 4


def score(keys):
    """Return the importance of each token, [H, n]: the sinks, then the newer the higher."""
    heads, n, _ = keys.shape
    place = torch.arange(n, device=keys.device, dtype=keys.dtype)
    return torch.where(place < SINKS, 2 * n - place, place).expand(heads, -1)
