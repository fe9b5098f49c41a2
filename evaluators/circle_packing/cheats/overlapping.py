"""Every circle fills the whole square.

Group: geometry
Expected: wrong
"""

import numpy as np


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    return np.full((n, 3), 0.5)
