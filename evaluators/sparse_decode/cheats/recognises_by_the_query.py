"""Recognise a step by its query, and play back a decision.

Group: recognition
Expected: fair - a table of decisions for queries that it knows gains nothing on those that it does not
"""

import hashlib

import torch

KNOWN = {"5d41402abc4b2a76": (0, 100, 200), "7d793037a0760186": (1, 2, 3)}


def select(query, cache, budget):
    """Remembered tokens where the query is known, and the newest ones."""
    name = hashlib.sha256(query.numpy().tobytes()).hexdigest()[:16]
    known = [token for token in KNOWN.get(name, ()) if token < cache.n]
    recent = [token for token in range(cache.n - 1, -1, -1) if token not in known]
    ids = torch.tensor([*known, *recent])[: budget.tokens]
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
