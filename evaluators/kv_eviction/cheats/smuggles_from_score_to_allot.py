"""Leave keys in a global for `allot`, which is not given any.

Group: memory
Expected: unstable or fair - where the same context was scored last; it may look at what it was shown
"""

import torch

LAST = {}


def score(keys, layer):
    """Norms; the keys are left behind."""
    LAST[layer] = keys
    return -keys.norm(dim=-1)


def allot(scores, budget, layers):
    """The budget of a layer to the heads by the spread of the keys that were left behind."""
    kept = torch.zeros(scores.shape, dtype=torch.bool)
    for place, layer in enumerate(layers):
        weight = LAST[layer].std(dim=(1, 2))
        counts = (weight / weight.sum() * len(weight) * budget.tokens).int().clamp(max=scores.shape[2])
        for head, count in enumerate(counts.tolist()):
            kept[place, head, scores[place, head].argsort(descending=True)[:count]] = True
    return kept
