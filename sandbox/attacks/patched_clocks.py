"""Stop every clock, so that it takes no time.

Group: timing
Expected: fair
"""

import time


def strike(target):
    for name in ("time", "perf_counter", "monotonic", "process_time", "time_ns", "perf_counter_ns", "monotonic_ns"):
        setattr(time, name, lambda: 0)
