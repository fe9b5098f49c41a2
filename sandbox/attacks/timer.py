"""Have a timer of the kernel end it in the middle of an answer.

Group: resources
Expected: crash or fair
"""

import signal
import time


def spoil(answer, target):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    time.sleep(0.05)
    return answer
