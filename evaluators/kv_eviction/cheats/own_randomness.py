"""Draw from a generator of its own, seeded by the system.

Group: memory
Expected: unstable
"""

import torch


def score(keys):
    """Random, and never again the same."""
    generator = torch.Generator()
    generator.seed()
    return torch.rand(keys.shape[:2], generator=generator)
