"""Return a buffer at once and fill it from a thread when the clock has stopped.

Group: timing
Expected: fair or wrong or crash or unstable
"""

import threading
import time

import numpy as np


def spoil(answer, target):
    if isinstance(answer, dict):
        return {key: spoil(value, target) for key, value in answer.items()}
    if isinstance(answer, tuple):
        return tuple(spoil(value, target) for value in answer)
    truth = np.asarray(answer)
    held = np.zeros_like(truth)

    def fill():
        time.sleep(0.001)
        held[...] = truth

    threading.Thread(target=fill, daemon=True).start()
    return held
