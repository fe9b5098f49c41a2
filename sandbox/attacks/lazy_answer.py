"""Return an object that computes when it is looked at.

Group: timing
Expected: fair or wrong or crash
"""

import time

import numpy as np


class Lazy:
    def __init__(self, answer):
        self.answer = answer

    def __array__(self, dtype=None, copy=None):
        time.sleep(0.005)
        return np.asarray(self.answer)

    def __getattr__(self, name):
        return getattr(self.answer, name)


def spoil(answer, target):
    return tuple(map(Lazy, answer)) if isinstance(answer, tuple) else Lazy(answer)
