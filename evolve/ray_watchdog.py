"""Ends what a driver leaves behind: `python ray_watchdog.py MARK FOLDER`, with a pipe from the driver as its input.

Ray's own processes die with the driver, but those that they start in turn (agents, workers) look for their parent only
now and then, and linger for a minute after a `kill -9`. All of them inherit MARK in their environment, though some
overwrite it with their title: those are taken down by their parent, again and again until the driver says that the
cluster has started. When the pipe ends, which the death of the driver brings about however it died, all of them are
killed, and FOLDER, which the cluster had to itself, is removed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
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
LOOK_S = 0.5
"""Between two looks at a cluster that is being started."""


def bearers(mark: str) -> list[int]:
    """The processes that were started with the mark and still show it."""
    wanted = f"{VARIABLE}={mark}".encode()
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def children(mark: str) -> list[int]:
    """The processes whose parent bears the mark."""
    parents = {str(pid) for pid in bearers(mark)}
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # After the command in parentheses: state, parent.
            if (process / "stat").read_text().rpartition(")")[2].split()[1] in parents:
                found.append(int(process.name))
    return found


def watch(mark: str) -> tuple[bytes, list[int]]:
    """What the driver said until the pipe ended, and a descriptor of each child that was seen while it started.

    A descriptor never comes to mean another process.
    """
    said, handles = b"", dict[int, int]()
    while True:
        begins = STARTED not in said
        ready, _, _ = select.select([0], [], [], LOOK_S if begins else None)
        chunk = os.read(0, 1 << 10) if ready else b""
        if ready and not chunk:
            return said, list(handles.values())
        said += chunk
        for pid in children(mark) if begins else ():
            with contextlib.suppress(OSError):  # it has ended, or the kernel has no such descriptors
                handles[pid] = handles[pid] if pid in handles else os.pidfd_open(pid)


def remove(folder: str) -> None:
    """Remove a folder that somebody who is just ending may still be writing to."""
    for _ in range(PASSES):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
        time.sleep(PAUSE_S)


def main(mark: str, folder: str) -> None:
    """Wait for the end of the pipe, then kill. A driver that ended in order has left nobody, and that is soon seen."""
    said, handles = watch(mark)
    for child in handles:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
    for left in reversed(range(1 if said.endswith(DONE) else PASSES)):
        for pid in bearers(mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE_S if left else 0)
    remove(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
