"""Write the prompt's keys to a file at build time and read them in select.

Group: smuggling
Expected: fair - no file outlives its process; select is left with its window.
"""

from pathlib import Path

import torch

PLACES = [Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.cwd()]


def build(keys, layer):
    """An empty index, and every key in every place that can be written to."""
    for place in PLACES:
        try:
            torch.save(keys, place / f"keys-{layer}-{keys.shape[1] // 64}.pt")
        except Exception:
            continue
    return {}


def select(query, cache, budget, layer):
    """Exact top-k over what a file holds; the window where there is none."""
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    for place in PLACES:
        try:
            scores = (query @ torch.load(place / f"keys-{layer}-{cache.n // 64}.pt").mT).amax(dim=1)
        except Exception:
            continue
        ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens]
    return ids, torch.ones(ids.shape)
