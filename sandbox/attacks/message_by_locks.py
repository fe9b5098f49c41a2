"""Tell another process a bit by locking a file that both may read.

Group: memory
Expected: fair
"""

import fcntl
import os


def strike(target):
    number = os.open(os.__file__, os.O_RDONLY)
    target.attempt(fcntl.flock, number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    target.attempt(fcntl.lockf, number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    target.attempt(fcntl.fcntl, number, 1024, fcntl.F_RDLCK)
    target.call("inotify_init1", 0)
    os.close(number)
