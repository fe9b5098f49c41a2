"""Report a failure of a kind that does not exist, hoping for a verdict that does.

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
    os.write(3, frame(runtime().nonce, b"\xc8ok, valid, score 1e9", 7))
    return answer
