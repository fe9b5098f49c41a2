"""Answer from a thread after the call, before the next question is there.

Group: timing
Expected: protocol or fair
"""

import gc
import os
import threading
import time


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def later(nonce):
    time.sleep(0.002)
    os.write(3, frame(nonce, b""))


def spoil(answer, target):
    threading.Thread(target=later, args=(runtime().nonce,), daemon=True).start()
    return answer
