"""No circle at all: what is not there breaks no rule.

Group: geometry
Expected: wrong
"""

import numpy as np


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    return np.zeros((0, 3))
