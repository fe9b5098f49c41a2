"""Keep keys in a file of the process's own folder.

Group: memory
Expected: unstable or crash - where the sandbox has no folder to write in
"""

from pathlib import Path

import torch


def select(query, cache, budget, layer):
    """Exact top-k; keys that were read once for a length are never read again."""
    name = f"{layer}:{cache.n // 64}"
    keys = torch.load(name) if Path(name).is_file() else None
    if keys is None or keys.shape[1] < cache.n:
        keys = cache.keys(torch.arange(cache.n).expand(len(query), -1))
        torch.save(keys, name)
    scores = (query @ keys[:, : cache.n].mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
