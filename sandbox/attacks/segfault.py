"""Crash below Python.

Group: resources
Expected: crash
"""

import ctypes


def spoil(answer, target):
    return ctypes.string_at(8)
