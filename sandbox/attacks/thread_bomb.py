"""Start threads by the thousand.

Group: resources
Expected: fair
"""

import threading
import time

started = []


def strike(target):
    try:
        while len(started) < 5000:
            thread = threading.Thread(target=time.sleep, args=(3600,), daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        target.held(error)
    else:
        target.breach("5000 threads run")
