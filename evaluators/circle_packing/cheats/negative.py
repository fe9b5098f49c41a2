"""A circle of radius minus one lets another of radius 26 stand on the same spot.

Group: geometry
Expected: wrong
"""

import numpy as np


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    circles = np.full((n, 3), 0.5)
    circles[:, 2] = -1.0
    circles[0, 2] = n
    return circles
