"""Match a regular expression that takes for ever.

Group: resources
Expected: timeout
"""

import re


def spoil(answer, target):
    return re.match(r"(a+)+$", "a" * 64 + "!")
