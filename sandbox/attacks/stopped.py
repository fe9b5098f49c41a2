"""Stop itself, so that it is neither alive nor dead.

Group: resources
Expected: fair or timeout
"""

import os
import signal


def strike(target):
    target.attempt(os.kill, os.getpid(), signal.SIGSTOP)
    target.attempt(signal.raise_signal, signal.SIGSTOP)
