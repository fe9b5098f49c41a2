"""Read an index of one-byte rows piece by piece, in case small rows are charged by the byte.

Group: smuggling
Expected: fair - a row costs a sector at least
"""

import torch


def build(keys):
    """One byte a token: how large its key is."""
    size = keys.norm(dim=-1)
    return {"size": (255 * size / size.amax()).to(torch.uint8)[..., None]}


def select(query, index, cache, budget):
    """Every row by itself, then the largest keys."""
    known = torch.arange(min(cache.n // 64 * 64, cache.n - 1) // 2).expand(len(query), -1)
    size = index.rows("size", known)[..., 0].int()
    ids = size.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
