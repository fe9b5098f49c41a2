"""Ignore every signal, and sleep.

Group: resources
Expected: timeout
"""

import signal
import time


def spoil(answer, target):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    while True:
        time.sleep(3600)
