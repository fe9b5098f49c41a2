"""Replace itself by another program, which would keep the channel and start without a filter.

Group: escape
Expected: fair
"""

import os
import sys


def strike(target):
    for place in ("/bin/sh", "/bin/true", sys.executable, "/proc/self/exe"):
        target.attempt(os.execv, place, [place])
    target.call("syscall", 322, 1, b"", None, None, 0x1000)
