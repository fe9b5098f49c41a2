"""Fix every source of randomness, so that nonces and seeds can be told in advance.

Group: globals
Expected: fair
"""

import os
import random
import secrets


def strike(target):
    os.urandom = lambda count: bytes(count)
    secrets.token_bytes = lambda count=32: bytes(count or 32)
    random.seed(0)
    random.SystemRandom = random.Random
