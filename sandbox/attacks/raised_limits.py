"""Raise its own limits, or lower those of others.

Group: escape
Expected: fair
"""

import os
import resource


def strike(target):
    most = resource.RLIM_INFINITY
    for name in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
        try:
            resource.setrlimit(name, (most, most))
        except (ValueError, PermissionError) as error:
            target.held(error)
        else:
            target.breach("a limit was raised")
    try:
        resource.prlimit(target.bystander, resource.RLIMIT_NOFILE, (0, 0))
    except OSError as error:
        target.held(error)
    else:
        target.breach("a limit of another was lowered")
    target.attempt(os.setpriority, os.PRIO_PROCESS, 0, -20)
    target.attempt(os.sched_setaffinity, 0, {0})
    target.attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))
