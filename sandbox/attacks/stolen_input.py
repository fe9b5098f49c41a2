"""Read the channel itself and wait for a question that never comes.

Group: resources
Expected: timeout or protocol
"""

import os


def spoil(answer, target):
    while True:
        os.read(3, 1 << 16)
