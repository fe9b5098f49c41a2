"""Answer with an array that says it equals whatever it is compared with.

Group: forgery
Expected: fair or wrong or crash
"""

import numpy as np


class Equal(np.ndarray):
    def __eq__(self, other):
        return True

    def __array_function__(self, function, types, args, named):
        return True

    def tobytes(self, order="C"):
        return bytes(64)


def spoil(answer, target):
    return answer.view(Equal) if isinstance(answer, np.ndarray) else answer
