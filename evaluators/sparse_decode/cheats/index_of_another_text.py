"""Ask for the index of another layer or text by its path.

Group: smuggling
Expected: wrong
"""

import torch


def build(keys, layer):
    """An honest little index under a name of its own."""
    return {f"layer{layer}": keys[:, :1]}


def select(query, index, cache, budget, layer):
    """Read what was built for somebody else."""
    index[f"layer{layer + 1}"]
    index["../0/layer0"]
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
