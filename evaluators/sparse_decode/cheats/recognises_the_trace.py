"""Recognise a known text by the shape of its cache and play back decisions that were tuned on it.

Group: recognition
Expected: fair - a table of decisions for lengths that it knows gains nothing on texts that it does not know.
"""

import torch

KNOWN = {(3, 2048): (0, 1, 2, 3, 512, 513, 514, 1024, 1025, 1536), (2, 95): (0, 7, 11, 13), (2, 96): (0, 7, 11, 13)}


def select(query, cache, budget):
    """The remembered tokens where the shape is known, and the newest ones."""
    known = [token for token in KNOWN.get((len(query), cache.n), ()) if token < cache.n][: budget.tokens]
    recent = [token for token in range(cache.n - 1, -1, -1) if token not in known][: budget.tokens - len(known)]
    ids = torch.tensor([*known, *recent]).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
