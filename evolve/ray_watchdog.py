"""Ends what a driver leaves behind: `python ray_watchdog.py MARK`, with a pipe from the driver as standard input.

Ray's own processes die with the driver, but those that they start in turn (agents, workers) look for their parent only
now and then, and linger for a minute after a `kill -9`. All of them inherit MARK in their environment. When the pipe
ends, which the death of the driver brings about however it died, whoever bears the mark is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

VARIABLE = "VEVOLVE_CLUSTER"
PASSES = 15
PAUSE_S = 0.2
"""A process that was just being started bears the mark only on a later look: 3 seconds in all."""


def bearers(mark: str) -> list[int]:
    """The processes that were started with the mark."""
    wanted = f"{VARIABLE}={mark}".encode()
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def main(mark: str) -> None:
    """Wait for the end of the pipe, then kill. A driver that ended in order has left nobody, and that is soon seen."""
    ordered = sys.stdin.buffer.read() == b"done"
    for _ in range(1 if ordered else PASSES):
        for pid in bearers(mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0 if ordered else PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1])
