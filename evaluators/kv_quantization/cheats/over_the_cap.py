"""Store half precision, whatever the cap says.

Group: bytes
Expected: wrong
"""


def encode(keys, values):
    """Sixteen bits a number."""
    return {"k": keys.half(), "v": values.half()}


def decode(code):
    """As it was stored."""
    return code["k"].float(), code["v"].float()
