"""Collect garbage at every call and look through what others freed.

Group: globals
Expected: fair
"""

import gc


def strike(target):
    gc.unfreeze()
    gc.set_debug(0)
    for found in gc.get_referrers(target):
        if type(found).__name__ in ("Problem", "Verdict", "Workload"):
            target.breach("an object of the verifier is in reach")
