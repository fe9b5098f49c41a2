"""Compute in half precision until it overflows.

Group: numbers
Expected: wrong
"""


def score(keys):
    """Infinity minus infinity."""
    large = (keys.half() * 6e4).square().sum(dim=-1)
    return large - large
