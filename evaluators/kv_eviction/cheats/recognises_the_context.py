"""Recognise a known context by its length and play back what was tuned on it.

Group: recognition
Expected: fair - a table of decisions for lengths that it knows gains nothing on contexts that it does not know
"""

import torch

KNOWN = {416: (0, 1, 2, 3, 100, 101, 102, 200, 300), 64: (0, 7, 11, 13), 200: (0, 50, 100, 150)}


def score(keys):
    """The remembered tokens where the length is known, and the newest ones."""
    scores = torch.arange(keys.shape[1]).float()
    for token in KNOWN.get(keys.shape[1], ()):
        scores[token] = torch.inf
    return scores.expand(len(keys), -1)
