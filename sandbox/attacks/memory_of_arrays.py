"""Take all memory by arrays.

Group: resources
Expected: resource or timeout
"""

import numpy as np


def spoil(answer, target):
    held = []
    while True:
        held.append(np.ones(1 << 22))
