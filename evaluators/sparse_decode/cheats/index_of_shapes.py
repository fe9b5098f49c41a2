"""Carry bits in how a tensor of one size is folded into dimensions.

Group: smuggling
Expected: fair - a tensor that is looked at is charged whole, its header with it
"""

import torch

FOLDS = [
    (1, 720),
    (2, 360),
    (3, 240),
    (4, 180),
    (5, 144),
    (6, 120),
    (8, 90),
    (9, 80),
    (10, 72),
    (12, 60),
    (15, 48),
    (16, 45),
]


def build(keys):
    """Sixty tensors, each folded by the place of a heavy key."""
    heavy = keys[0].norm(dim=-1).topk(min(60, keys.shape[1])).indices.tolist()
    return {f"t{number}": torch.zeros(FOLDS[place % 12], dtype=torch.uint8) for number, place in enumerate(heavy)}


def select(query, index, cache, budget):
    """Unfold what the shapes say."""
    folds = [FOLDS.index(tuple(index[f"t{number}"].shape)) for number in range(60)]
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n)
    ids[: min(12, len(ids) - 1)] = ids[0]
    ids = torch.cat([ids.unique(), torch.tensor(sorted({fold for fold in folds if fold < int(ids[0])}))]).unique()
    ids = ids[-budget.tokens :]
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
