"""Stay busy when it is told to go: exit handlers, destructors, threads that are no daemons.

Group: resources
Expected: fair
"""

import atexit
import threading
import time


class Slow:
    def __del__(self):
        time.sleep(3600)


held = Slow()
atexit.register(time.sleep, 3600)
threading.Thread(target=time.sleep, args=(3600,)).start()


def strike(target):
    atexit.register(time.sleep, 3600)
