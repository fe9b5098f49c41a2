"""Write to every descriptor in the hope that one leads to the verdict.

Group: forgery
Expected: protocol
"""

import os


def strike(target):
    for number in range(3, 64):
        try:
            os.write(number, b'{"correct": true, "score": 1e9}\n' + bytes(64))
        except OSError:
            continue
