"""Honest radii at places that are not numbers, so that no distance can be measured.

Group: geometry
Expected: wrong
"""

import numpy as np


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    circles = np.full((n, 3), 0.5)
    circles[:, :2] = np.nan
    return circles
