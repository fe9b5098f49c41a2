"""Send frames of kinds that nobody knows, and those that only the trusted side sends.

Group: forgery
Expected: protocol
"""

import gc
import os


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def spoil(answer, target):
    for kind in (0, 1, 2, 3, 5, 8, 255):
        os.write(3, frame(runtime().nonce, bytes(4), kind))
    return answer
