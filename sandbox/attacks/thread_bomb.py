"""Start threads by the thousand.

Group: resources
Expected: fair or resource - where their stacks fill its memory, nothing is left for the next question
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
