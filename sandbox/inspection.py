"""A look at a child from outside, in /proc, before the candidate's text is handed to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vevolve.errors import SandboxUnavailable
from vevolve.sandbox.cgroups import Slot


def inspect(pid: int, layers: Mapping[str, str], slot: Slot | None = None) -> None:
    """See that the layers hold which a child says it put on; `slot` is the control group that it was given.

    Raises:
        SandboxUnavailable: one does not.
    """
    folder = Path(f"/proc/{pid}")
    lines = (folder / "status").read_text().splitlines()
    status = {name: words for name, _, words in (line.partition(":") for line in lines)}
    wrong: list[str] = []
    if layers.get("capabilities") == "active" and (int(status["CapEff"], 16) or int(status["CapPrm"], 16)):
        wrong.append("capabilities")
    if layers.get("no_new_privileges") == "active" and status["NoNewPrivs"].strip() != "1":
        wrong.append("no_new_privileges")
    if layers.get("seccomp") == "active" and not all(_is_filtered(task) for task in (folder / "task").iterdir()):
        wrong.append("seccomp")
    # The pid in each namespace: at least ours and its own, in which it is the first.
    if layers.get("processes") == "active" and status["NSpid"].split()[1:] != ["1"]:
        wrong.append("processes")
    if layers.get("user") == "active":
        own = str(os.geteuid()) in status["Uid"].split()
        if own and (os.geteuid() == 0 or _shares(folder, "user")):
            wrong.append("user")
    for name, kind in (("network", "net"), ("mounts", "mnt"), ("ipc", "ipc"), ("hostname", "uts")):
        if layers.get(name) == "active" and _shares(folder, kind):
            wrong.append(name)
    if layers.get("cgroup") == "active" and not (slot and slot.holds(pid)):
        wrong.append("cgroup")
    if wrong:
        raise SandboxUnavailable(f"A sandboxed process is not closed, seen from outside: {', '.join(wrong)}.")


def _is_filtered(task: Path) -> bool:
    """Whether a thread is under a filter of system calls."""
    return "\nSeccomp:\t2\n" in (task / "status").read_text()


def _shares(folder: Path, kind: str) -> bool:
    """Whether it is in our namespace of that kind."""
    return (folder / "ns" / kind).readlink() == Path(f"/proc/self/ns/{kind}").readlink()
