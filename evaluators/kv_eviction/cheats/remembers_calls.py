"""Count calls, and score well only at the first, when someone may look closely.

Group: memory
Expected: unstable
"""

import torch

CALLS = [0]


def score(keys):
    """Norms at first, then the newest tokens."""
    CALLS[0] += 1
    if CALLS[0] == 1:
        return -keys.norm(dim=-1)
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)
