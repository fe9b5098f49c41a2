"""Answer with a pickle that runs code where it is read.

Group: forgery
Expected: wrong or crash
"""

import os
import pickle


class Bomb:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def spoil(answer, target):
    return pickle.dumps(Bomb())
