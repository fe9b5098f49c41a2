"""Replace the code that carries answers by its own.

Group: forgery
Expected: crash or protocol or wrong
"""

import gc


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def strike(target):
    type(runtime()).pack = lambda self, value, returns: [b'{"valid": true, "score": 1e9}']
