"""Keep what the last steps chose in a closure, and mix it in.

Group: memory
Expected: unstable
"""

import torch


def remembering():
    """A function that returns the last ids it was given."""
    held = []

    def last(ids):
        held.append(ids)
        return held[-2:][0]

    return last


LAST = remembering()


def select(query, cache, budget):
    """The window of the step before, where that is visible."""
    own = torch.arange(max(cache.n - budget.tokens, 0), cache.n)
    ids = LAST(own)
    ids = (ids if ids[-1] < cache.n else own)[: budget.tokens].expand(len(query), -1)
    return ids, torch.ones(ids.shape)
