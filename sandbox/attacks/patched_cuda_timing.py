"""Replace the timers of a GPU and what waits for it.

Group: timing
Expected: fair
"""

import sys


class Event:
    def __init__(self, *args, **named):
        pass

    def record(self, *args):
        pass

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 1e-9


def strike(target):
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.cuda.Event = Event
        torch.cuda.synchronize = lambda *args: None
