"""Answer zeros of the right form, for whoever only checks that.

Group: forgery
Expected: wrong or fair or crash
"""

import numpy as np


def spoil(answer, target):
    if isinstance(answer, dict):
        return {key: spoil(value, target) for key, value in answer.items()}
    if isinstance(answer, (tuple, list)):
        return type(answer)(spoil(value, target) for value in answer)
    return leaf(np.asarray(answer))


def leaf(array):
    return np.zeros_like(array)
