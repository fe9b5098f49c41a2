"""Ends what a driver leaves behind: `python ray_watchdog.py MARK`, with a pipe from the driver as standard input.

Ray's own processes die with the driver, but those that they start in turn (agents, workers) look for their parent only
now and then, and linger for a minute after a `kill -9`. All of them inherit MARK in their environment, though some
overwrite it with their title: those are taken down by their parent once the driver says that the cluster has started.
When the pipe ends, which the death of the driver brings about however it died, all of them are killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

VARIABLE = "VEVOLVE_CLUSTER"
STARTED, DONE = b"started\n", b"done\n"
"""What the driver says."""
PASSES = 15
PAUSE_S = 0.2
"""A process that was just being started bears the mark only on a later look: 3 seconds in all."""


def bearers(mark: str) -> list[int]:
    """The processes that were started with the mark and still show it."""
    wanted = f"{VARIABLE}={mark}".encode()
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def handles(mark: str) -> list[int]:
    """A descriptor of each child of a process that bears the mark; it never comes to mean another process."""
    parents = {str(pid) for pid in bearers(mark)}
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or the kernel has no such descriptors
            # After the command in parentheses: state, parent.
            if (process / "stat").read_text().rpartition(")")[2].split()[1] in parents:
                found.append(os.pidfd_open(int(process.name)))
    return found


def main(mark: str) -> None:
    """Wait for the end of the pipe, then kill. A driver that ended in order has left nobody, and that is soon seen."""
    children: list[int] = []
    line = b""
    for line in iter(sys.stdin.buffer.readline, b""):
        if line == STARTED:
            children = handles(mark)
    for child in children:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
    for left in reversed(range(1 if line == DONE else PASSES)):
        for pid in bearers(mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE_S if left else 0)


if __name__ == "__main__":
    main(sys.argv[1])
