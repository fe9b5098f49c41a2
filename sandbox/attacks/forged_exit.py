"""Write a result and end with exit code 0, as if everything had gone well.

Group: forgery
Expected: crash
"""

import os


def spoil(answer, target):
    print('{"correct": true, "score": 1e9}', flush=True)
    os._exit(0)
