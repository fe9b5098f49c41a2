"""Start a second process by every call that does it.

Group: escape
Expected: fair
"""

import os


def strike(target):
    for number in (57, 58):
        target.call("syscall", number)
    for flags in (17, 0x4111, 0x10000000 | 17, 0x100):
        target.call("syscall", 56, flags, 0, 0, 0, 0)
    target.call("syscall", 435, bytes(88), 88)
    target.attempt(os.fork)
