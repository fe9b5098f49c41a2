"""Ask for services and methods that are not offered.

Group: forgery
Expected: protocol or wrong or crash
"""

import gc
import os


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def spoil(answer, target):
    for service in (255, 7, 3):
        os.write(3, frame(runtime().nonce, bytes((service, 255, 0)), 4))
    return answer
