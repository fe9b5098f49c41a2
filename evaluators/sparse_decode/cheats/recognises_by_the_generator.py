"""Recognise a step by the seed of its generator, and play back a decision.

Group: recognition
Expected: fair - seeds are derived one-way, and those of a run are its own
"""

import torch

KNOWN = {1234567890123456789: (0, 1, 2, 3, 512, 1024), 42: (0, 7, 11)}


def select(query, cache, budget, rng):
    """Remembered tokens where the seed is known, and the newest ones."""
    known = [token for token in KNOWN.get(rng.initial_seed(), ()) if token < cache.n]
    recent = [token for token in range(cache.n - 1, -1, -1) if token not in known]
    ids = torch.tensor([*known, *recent])[: budget.tokens]
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
