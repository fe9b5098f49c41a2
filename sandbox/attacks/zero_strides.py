"""Answer with an array that is larger than all memory, and takes none.

Group: forgery
Expected: wrong or crash or resource or protocol
"""

import numpy as np


def spoil(answer, target):
    if isinstance(answer, dict):
        return {key: spoil(value, target) for key, value in answer.items()}
    if isinstance(answer, (tuple, list)):
        return type(answer)(spoil(value, target) for value in answer)
    return leaf(np.asarray(answer))


def leaf(array):
    return np.broadcast_to(array.reshape(-1)[:1], (1 << 40,))
