"""Ask without end and never read a reply, so that the trusted side blocks in a write.

Group: forgery
Expected: protocol or wrong or crash
"""

import gc
import os
import time


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def spoil(answer, target):
    os.set_blocking(3, False)
    request = frame(runtime().nonce, bytes((0, 0, 1, 0)) + bytes(8), 4)
    for _ in range(1 << 16):
        try:
            os.write(3, request)
        except BlockingIOError:
            time.sleep(0.001)
    return answer
