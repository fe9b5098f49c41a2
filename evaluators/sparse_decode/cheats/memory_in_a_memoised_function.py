"""Memoise the read itself, as any programmer would.

Group: memory
Expected: unstable
"""

import functools

import torch

HANDLE = []


@functools.cache
def keys_of(layer, n, heads):
    """The first n keys of a layer."""
    return HANDLE[-1].keys(torch.arange(n).expand(heads, -1))


def select(query, cache, budget, layer):
    """Exact top-k over memoised keys."""
    HANDLE.append(cache)
    keys = keys_of(layer, cache.n // 64 * 64, len(query))
    scores = (query @ keys.mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
