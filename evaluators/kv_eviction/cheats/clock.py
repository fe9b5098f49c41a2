"""Score by the clock, which runs on between two askings.

Group: memory
Expected: unstable
"""

import time

import torch


def score(keys):
    """The newest tokens, shifted by the time of day."""
    return torch.arange(keys.shape[1]).roll(time.perf_counter_ns() // 1000 % 29).float().expand(len(keys), -1)
