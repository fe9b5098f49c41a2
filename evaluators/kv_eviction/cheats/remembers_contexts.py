"""Learn from one context or layer what the next ones look for.

Group: memory
Expected: unstable
"""

import torch

SEEN = []


def score(keys, queries):
    """Attention of the mean query of all contexts so far."""
    SEEN.append(queries.mean(dim=2))
    mean = torch.stack(SEEN).mean(dim=0)
    return (mean @ keys.mT).softmax(dim=-1).mean(dim=1)
