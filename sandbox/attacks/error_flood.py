"""Raise an error whose message is a hundred megabytes.

Group: resources
Expected: crash
"""


def spoil(answer, target):
    raise RuntimeError("flood " * 20_000_000)
