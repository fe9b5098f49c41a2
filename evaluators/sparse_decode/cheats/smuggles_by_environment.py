"""Leave a list of heavy tokens in an environment variable at build time and choose them in select.

Group: smuggling
Expected: fair - each process has an environment of its own; select is left with its window.
"""

import os

import torch


def build(keys, layer):
    """An empty index, and the largest keys of head 0 in the environment."""
    heavy = keys[0].norm(dim=-1).topk(min(512, keys.shape[1])).indices.tolist()
    os.environ[f"HEAVY_{layer}"] = ",".join(map(str, heavy))
    return {}


def select(query, cache, budget, layer):
    """The tokens that the environment names; the window where it names none."""
    heavy = os.environ.get(f"HEAVY_{layer}", "")
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n)
    if heavy:
        ids = torch.tensor([int(one) for one in heavy.split(",")])[: budget.tokens]
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
