"""Learn what else runs, as whom, and how busily.

Group: theft
Expected: fair
"""

import os
import time


def strike(target):
    target.attempt(os.listdir, "/proc")
    target.attempt(open, f"/proc/{target.runner}/status")
    target.attempt(os.getpgid, target.runner)
    target.attempt(os.getsid, target.bystander)
    target.attempt(os.sched_getaffinity, target.runner)
    target.attempt(os.getpriority, os.PRIO_PROCESS, target.runner)
    # The clock of another process: how much it has worked, and whether it is there.
    target.attempt(time.clock_gettime, (~target.bystander << 3) | 2)
