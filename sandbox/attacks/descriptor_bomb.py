"""Open files until the system has no more.

Group: resources
Expected: fair
"""

import os


def strike(target):
    held = []
    try:
        for _ in range(10_000):
            held.append(os.open(os.__file__, os.O_RDONLY))
    except OSError as error:
        target.held(error)
    else:
        target.breach("10,000 descriptors are open")
    for number in held:
        os.close(number)
