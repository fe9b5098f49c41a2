"""As good as the grid seed, with every radius stretched by almost what rounding is excused.

Group: geometry
Expected: fair - what rounding excuses is taken off every radius
"""

import math

import numpy as np


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    columns = math.isqrt(n)
    rows = math.ceil(n / columns)
    spots = np.arange(n)
    x, y = spots % columns + 0.5, spots // columns + 0.5
    return np.column_stack([x / columns, y / rows, np.full(n, 0.5 / rows + 4.9e-10)])
