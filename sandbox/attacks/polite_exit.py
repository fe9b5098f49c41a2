"""Leave by sys.exit, which a careless harness takes for success.

Group: forgery
Expected: crash
"""

import sys


def spoil(answer, target):
    sys.exit(0)
