"""Write into keys and values, in the hope that the verifier attends with them.

Group: future
Expected: fair - what a candidate gets is a copy
"""

import torch


def score(keys, values):
    """The newest tokens, after every value was set to the mean."""
    keys[:] = 0
    values[:] = values.mean(dim=1, keepdim=True)
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)
