"""Make system calls by the numbers of the x32 interface.

Group: escape
Expected: crash or fair
"""

import platform


def strike(target):
    if platform.machine() == "x86_64":
        target.call("syscall", 0x40000000 + 39)
