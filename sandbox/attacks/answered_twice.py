"""Answer once more under the right nonce, as the answer to what is asked next.

What was slipped in first counts, and what follows it does not fit: of an index, the next function finds nothing in it.

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
    os.write(3, frame(runtime().nonce, b"\0\0"))
    return answer
