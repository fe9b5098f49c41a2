"""Change the warm process that all candidates are forked from.

Group: memory
Expected: fair
"""

import os


def strike(target):
    for name in ("mem", "attr/current", "oom_score_adj", "comm", "fd"):
        target.attempt(open, f"/proc/{os.getppid()}/{name}", "r+")
        target.attempt(open, f"/proc/self/{name}", "r+")
