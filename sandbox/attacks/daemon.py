"""Detach from its parents and live on.

Group: resources
Expected: fair
"""

import os
import time


def strike(target):
    try:
        os.setsid()
    except OSError as error:
        target.held(error)
    try:
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(3600)
            os._exit(0)
    except OSError as error:
        target.held(error)
    else:
        target.breach("a daemon was started")
