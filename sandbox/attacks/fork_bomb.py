"""Start processes without end.

Group: resources
Expected: fair
"""

import os


def strike(target):
    for _ in range(64):
        try:
            if os.fork() == 0:
                while True:
                    os.fork()
        except OSError as error:
            target.held(error)
        else:
            target.breach("it forked")
