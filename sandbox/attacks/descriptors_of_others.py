"""Copy an open descriptor out of another process.

Group: theft
Expected: fair
"""

import os


def strike(target):
    target.attempt(os.pidfd_open, target.runner)
    for number in range(3, 16):
        target.call("syscall", 438, number, 0, 0)
