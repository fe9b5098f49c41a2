"""Recurse until the stack overflows, in Python and then in C.

Group: resources
Expected: crash or resource or timeout
"""

import sys


def spoil(answer, target):
    sys.setrecursionlimit(1 << 30)

    def deeper(value):
        return deeper([value])

    return deeper(answer)
