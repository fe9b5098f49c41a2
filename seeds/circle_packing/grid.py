"""Circles on a grid, each as large as its neighbours allow.

A deliberately naive start. `place` decides where centres go and `grow` how large circles become; any placement of
distinct centres inside the square gives a valid packing.
"""

import math

import numpy as np

STAGGER = 0.0


def place(n):
    """Centres [n, 2], row by row; every other row is shifted by STAGGER columns against its neighbours."""
    columns = math.isqrt(n)
    rows = math.ceil(n / columns)
    centres = []
    for spot in range(n):
        row, column = divmod(spot, columns)
        shift = STAGGER * (row % 2 - 0.5)
        centres.append(((column + 0.5 + shift) / columns, (row + 0.5) / rows))
    return np.array(centres)


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
