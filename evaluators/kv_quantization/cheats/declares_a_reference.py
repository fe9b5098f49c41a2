"""Declare itself a reference, which no cap binds.

Group: recognition
Expected: fair - a reference stands on no front and is no parent
"""

REFERENCE = True


def encode(keys, values):
    """Sixteen bits a number."""
    return {"k": keys.half(), "v": values.half()}


def decode(code):
    """As it was stored."""
    return code["k"].float(), code["v"].float()
