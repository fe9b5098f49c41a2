"""Circles on a square grid: as many columns as rows or one more, each circle as large as its neighbours allow.

A deliberately naive start. `place` decides where centres go and `grow` how large circles become; any placement of
distinct centres inside the square gives a valid packing.
"""

import math

import numpy as np


def place(n):
    """Centres [n, 2], row by row."""
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    centres = [((column + 0.5) / columns, (row + 0.5) / rows) for row in range(rows) for column in range(columns)]
    return np.array(centres[:n])


def grow(centres):
    """Radii [n]: one circle after the other takes what the walls, the circles so far and the other centres leave."""
    radii = np.zeros(len(centres))
    for i, centre in enumerate(centres):
        walls = min(centre.min(), (1 - centre).min())
        distances = np.hypot(*(centres - centre).T)
        rooms = [distances[j] - radii[j] if j < i else distances[j] / 2 for j in range(len(centres)) if j != i]
        radii[i] = max(0.0, min(walls, *rooms))
    return radii


def pack(n):
    """Circles [n, 3] as x, y, radius."""
    centres = place(n)
    return np.column_stack([centres, grow(centres)])
