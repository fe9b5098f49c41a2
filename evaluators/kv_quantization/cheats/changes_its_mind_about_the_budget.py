"""Raise the cap in the settings that came along.

Group: bytes
Expected: wrong
"""


def encode(keys, values, budget):
    """Sixteen bits a number, and a cap that allows them."""
    budget.bits = 99.0
    return {"k": keys.half(), "v": values.half()}


def decode(code, budget):
    """As it was stored."""
    budget.bits = 99.0
    return code["k"].float(), code["v"].float()
