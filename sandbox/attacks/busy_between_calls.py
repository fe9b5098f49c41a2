"""Work in a thread while nobody asks.

Group: timing
Expected: fair
"""

import threading
import time

running = []


def work():
    while True:
        sum(range(1000))
        time.sleep(0.001)


def strike(target):
    if not running:
        running.append(threading.Thread(target=work, daemon=True))
        running[0].start()
