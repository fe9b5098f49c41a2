"""Return numbers without dimensions, which a count of rows takes for nothing.

Group: smuggling
Expected: wrong
"""

import torch


def build(keys):
    """Sixty scalars."""
    norms = keys[0].norm(dim=-1)
    return {f"n{place}": norms[place] for place in range(60)}


def select(query, cache, budget):
    """The window."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
