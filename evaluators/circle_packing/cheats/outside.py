"""Circles that touch nobody, because they lie far outside the square.

Group: geometry
Expected: wrong
"""

import numpy as np


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    x = 10.0 + 4.0 * np.arange(n)
    return np.column_stack([x, x, np.ones(n)])
