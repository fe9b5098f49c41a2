"""Hide numbers in the names of many tensors of a single byte.

Group: smuggling
Expected: wrong
"""

import torch


def build(keys):
    """Thousands of names, a byte each."""
    codes = (keys[0].norm(dim=-1) * 10).long().tolist()
    return {f"{place}:{code}": torch.zeros(1, dtype=torch.uint8) for place, code in enumerate([*codes, *codes, *codes])}


def select(query, cache, budget):
    """The window."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
