"""Keep keys in environment variables, as text.

Group: memory
Expected: unstable
"""

import os

import torch


def read(name, query):
    """Keys [H, n, d] from an environment variable, or None."""
    if name not in os.environ:
        return None
    return torch.frombuffer(bytearray.fromhex(os.environ[name]), dtype=torch.float32).reshape(
        len(query), -1, query.shape[-1]
    )


def select(query, cache, budget, layer):
    """Exact top-k; keys that were read once for a length are never read again."""
    name = f"{layer}:{cache.n // 64}"
    keys = read(name, query)
    if keys is None or keys.shape[1] < cache.n:
        keys = cache.keys(torch.arange(cache.n).expand(len(query), -1))
        os.environ[name] = keys.numpy().tobytes().hex()
    scores = (query @ keys[:, : cache.n].mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
