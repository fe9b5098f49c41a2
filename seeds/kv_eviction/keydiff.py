"""KeyDiff: keep the keys that differ most from the average one (Park et al. 2025, arXiv:2504.15364).

score_j = -cos(k_j, mean_i k_i / |k_i|).

The paper evicts block by block of 128 tokens while the prompt is read; here it runs once, over the whole prompt, as
kvpress does unless it is wrapped in BlockPress.
"""

import torch

PUBLISHED = "less than .04 % lost with a cache of 8k tokens (arXiv:2504.15364)"


def score(keys):
    """Return the importance of each token, [H, n]."""
    unit = torch.nn.functional.normalize(keys.float(), dim=-1)
    anchor = unit.mean(dim=1, keepdim=True)
    return -torch.nn.functional.cosine_similarity(unit, anchor, dim=-1)
