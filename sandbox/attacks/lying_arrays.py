"""Describe arrays by other types and shapes than they have.

Group: forgery
Expected: protocol or wrong or fair
"""

import gc
import sys


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def spoil(answer, target):
    wire = sys.modules["wire"]
    wire.CODES.update({dtype: (code + 5) % 9 for dtype, code in list(wire.CODES.items())})
    return answer
