"""Send one byte at a time, so that a deadline by read never passes.

Group: forgery
Expected: timeout or protocol
"""

import gc
import os
import time


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def spoil(answer, target):
    for byte in frame(runtime().nonce, bytes(1 << 16), length=(1 << 16) + 600):
        os.write(3, bytes([byte]))
        time.sleep(0.02)
