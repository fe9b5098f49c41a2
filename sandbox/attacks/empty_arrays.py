"""Send empty arrays, whose dimensions carry numbers.

Group: forgery
Expected: protocol or wrong
"""

import gc
import os
import time


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def spoil(answer, target):
    body = b"\1\0" + b"\1x" + bytes([8, 2]) + (0).to_bytes(8, "little") + (12345).to_bytes(8, "little")
    os.write(3, frame(runtime().nonce, body))
    time.sleep(3600)
