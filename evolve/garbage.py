"""The garbage collector while a run goes on."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def spared() -> Generator[None]:
    """Let the collector pass over what stands now, which is nearly all there is: modules, classes, functions.

    A run makes syntax trees by the thousand, none of them garbage for the collector, and their number makes it walk
    all that stands every hundred iterations or so. What is garbage already is collected first, what comes later is
    collected as ever, and afterwards all is as it was. Where somebody else has frozen objects, these are left so.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
