"""Declare itself a reference to the verifier and not to the archive, by two assignments.

Group: recognition
Expected: wrong
"""

REFERENCE = True
REFERENCE = False


def encode(keys, values):
    """Sixteen bits a number."""
    return {"k": keys.half(), "v": values.half()}


def decode(code):
    """As it was stored."""
    return code["k"].float(), code["v"].float()
