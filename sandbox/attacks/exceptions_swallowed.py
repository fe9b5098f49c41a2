"""Catch whatever could end it, also on the way out.

Group: resources
Expected: timeout
"""

import time


def spoil(answer, target):
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            continue
