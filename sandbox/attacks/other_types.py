"""Answer in complex numbers, whose real parts fit.

Group: forgery
Expected: wrong or crash
"""

import numpy as np


def spoil(answer, target):
    if isinstance(answer, dict):
        return {key: spoil(value, target) for key, value in answer.items()}
    if isinstance(answer, (tuple, list)):
        return type(answer)(spoil(value, target) for value in answer)
    return leaf(np.asarray(answer))


def leaf(array):
    return array.astype(complex)
