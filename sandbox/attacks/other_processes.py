"""List what else runs, and as whom.

Group: theft
Expected: fair
"""

import os


def strike(target):
    target.attempt(os.listdir, "/proc")
    target.attempt(open, f"/proc/{target.runner}/status")
    target.attempt(os.getpgid, target.runner)
    target.attempt(os.getsid, target.bystander)
