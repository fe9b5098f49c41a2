"""Replace what a checker imports, and the importing itself.

Group: globals
Expected: fair or crash
"""

import hashlib
import hmac
import random
import secrets
import statistics
import sys
import types


def strike(target):
    for module in (hashlib, hmac, secrets, statistics, random):
        for name in ("sha256", "blake2b", "new", "compare_digest", "token_bytes", "mean", "median", "random", "choice"):
            if hasattr(module, name):
                setattr(module, name, lambda *args, **named: b"")
    sys.modules["vevolve"] = types.ModuleType("vevolve")
    sys.modules["pytest"] = types.ModuleType("pytest")
