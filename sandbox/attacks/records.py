"""Answer with arrays of text and of records.

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
    return np.array([("PASS", 1e9)], dtype=[("verdict", "U8"), ("score", "f8")])
