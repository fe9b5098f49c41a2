"""Random tokens: every head keeps a uniform draw. The floor for all other methods.

The baseline of kvpress (Devoto et al. 2025, arXiv:2510.00636), which keeps no sinks either.
"""

import torch

PUBLISHED = "none: a baseline"


def score(keys, rng):
    """Return random scores, [H, n]."""
    return torch.rand(keys.shape[:2], generator=rng, device=keys.device)
