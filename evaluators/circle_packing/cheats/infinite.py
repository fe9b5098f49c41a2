"""An infinite radius, whose overlap with another infinite one is not a number.

Group: geometry
Expected: wrong
"""

import numpy as np


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    circles = np.full((n, 3), np.inf)
    circles[:, 0] = -np.inf
    return circles
