"""Close the channel, or put another file in its place.

Group: forgery
Expected: protocol or crash
"""

import os
import time


def spoil(answer, target):
    os.dup2(1, 3)
    time.sleep(3600)
