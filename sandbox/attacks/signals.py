"""Signal the verifier, its group and everyone.

Group: escape
Expected: fair
"""

import os
import signal


def strike(target):
    # Signal 0 asks for the permission alone.
    for pid in (0, -1, target.runner, -target.runner, os.getppid() or 1):
        target.attempt(os.kill, pid, 0)
    target.attempt(os.kill, target.bystander, signal.SIGKILL)
    target.attempt(os.killpg, 0, 0)
    target.call("syscall", 200, target.bystander, 9)
    target.call("syscall", 234, target.bystander, target.bystander, 9)
    target.call("syscall", 129, target.bystander, 9, bytes(128))
