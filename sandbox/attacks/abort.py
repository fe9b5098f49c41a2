"""End by a signal that dumps core.

Group: resources
Expected: crash
"""

import os


def spoil(answer, target):
    os.abort()
