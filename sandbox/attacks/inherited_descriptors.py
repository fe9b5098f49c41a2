"""Read whatever descriptors the parents forgot to close.

Group: theft
Expected: fair
"""

import os


def strike(target):
    for number in (0, *range(4, 1024)):
        try:
            print(os.pread(number, 1 << 16, 0))
        except OSError:
            continue
        if number:
            target.breach(f"descriptor {number} is open")
