"""Hide numbers in the dimensions of empty tensors: no bytes of payload, 48 bits a dimension.

Group: smuggling
Expected: wrong
"""

import torch


def build(keys):
    """The norms of the first 60 keys, as the sizes of tensors that hold nothing."""
    norms = (keys[0, :60].norm(dim=-1) * 1000).long().tolist()
    return {f"key{place}": torch.empty(0, norm) for place, norm in enumerate(norms)}


def select(query, index, cache, budget):
    """Read the shapes, choose the largest of those keys and the newest tokens."""
    norms = torch.tensor([index[f"key{place}"].shape[1] for place in range(60)])
    ids = norms.topk(min(16, budget.tokens)).indices.expand(len(query), -1)
    return ids, torch.ones(ids.shape)
