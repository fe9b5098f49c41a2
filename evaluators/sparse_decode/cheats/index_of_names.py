"""Put numbers into the names of tensors and guess them in select: a name that is not there must not be an answer.

Group: smuggling
Expected: wrong
"""

import contextlib

import torch


def build(keys):
    """One tensor whose name is the place of the largest key."""
    return {f"heavy{int(keys[0].norm(dim=-1).argmax())}": torch.ones(1, 1)}


def select(query, index, cache, budget):
    """Try names until one is there."""
    for place in range(cache.n):
        with contextlib.suppress(BaseException):
            index[f"heavy{place}"]
            break
    ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
