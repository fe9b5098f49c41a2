"""Not a number: every comparison with it is false, so "is it too much?" is answered with no.

Group: geometry
Expected: wrong
"""

import numpy as np


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    circles = np.full((n, 3), np.nan)
    circles[:, 2] = 1e9
    return circles
