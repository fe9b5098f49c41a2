"""Trace every function that is called after it, to see and change what they hold.

Group: globals
Expected: fair
"""

import sys
import threading


def watch(frame, event, argument):
    for name in ("reference", "expected", "threshold", "tolerance"):
        if name in frame.f_locals:
            print("attack saw", name)
    return None


def strike(target):
    sys.settrace(watch)
    threading.settrace(watch)
    sys.setswitchinterval(1e-6)
