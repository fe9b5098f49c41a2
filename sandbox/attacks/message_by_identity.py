"""Tell processes apart by their numbers, and count them.

Group: memory
Expected: fair
"""

import os


def strike(target):
    if os.getpid() not in (1, getattr(strike, "seen", os.getpid())):
        target.breach("its number changes")
    strike.seen = os.getpid()
    print(os.getpid(), os.getppid(), os.uname().nodename)
    if os.uname().nodename not in ("sandbox",) and os.getpid() == 1:
        target.breach("it knows the machine's name")
