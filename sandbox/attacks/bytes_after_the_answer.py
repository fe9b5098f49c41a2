"""Send more bytes than the answer has, for the next one to begin with.

Group: forgery
Expected: protocol or wrong
"""

import gc


def runtime():
    return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")


def frame(nonce, body=b"", kind=6, length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def strike(target):
    found = runtime()
    if "pack" not in vars(found):
        made = found.pack
        found.pack = lambda value, returns: [*made(value, returns), bytes(24)]
