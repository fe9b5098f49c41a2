"""Answer by the clock, which runs on between two askings.

Group: memory
Expected: unstable
"""

import time

import torch


def select(query, cache, budget):
    """The window, slid by the time of day."""
    slide = time.perf_counter_ns() // 1000 % 29
    ids = torch.arange(max(cache.n - budget.tokens - slide, 0), cache.n - slide).clamp(min=0).unique()
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
