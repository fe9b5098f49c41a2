"""Control groups: a bound of the kernel on the memory and the tasks of one process, and an end to all that is in it.

Each process of a candidate has a group to itself, called a slot. It enters before the candidate's text is there, and
cannot leave. Once it has ended the slot is empty, and the next process takes it. Unlike the limit of the address
space, a group counts what is really used, threads and files in memory included, and does so whatever the identity.

A slot is made where this process may make one: with cgroup v2, beside our own group, below the nearest that passes
memory and pids on; with v1, below our own group of the two hierarchies. Its folder is locked while its owner lives,
so that the folders of an owner that was killed can be told apart and removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import signal
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from vevolve.errors import VEvolveError

CONTROLLERS = ("memory", "pids")
PREFIX = "vevolve-"
WARM_BYTES = 1 << 28
"""What a process may use besides its own: pages of the warm interpreter that it writes to, and the kernel's for it."""
GONE_S = 2.0


@dataclass(frozen=True)
class Place:
    """Where slots may be made.

    Attributes:
        unified: cgroup v2.
        folders: one of v2; those of memory and of pids with v1.
    """

    unified: bool
    folders: tuple[Path, ...]


def places(own: str, mounts: str) -> Iterator[Place]:
    """Where slots may be tried, the best first.

    Args:
        own: /proc/self/cgroup.
        mounts: /proc/self/mountinfo.
    """
    groups: dict[str, str] = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        groups.update(dict.fromkeys(names.split(","), path))
    unified: tuple[Path, Path] | None = None
    divided: dict[str, Path] = {}
    for line in mounts.splitlines():
        place, _, source = line.partition(" - ")
        root, top = place.split()[3:5]
        kind, _, options = source.split(" ", 2)
        for name in [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []:
            # A mount may show a part of the hierarchy; our own group has to lie in it.
            if name not in groups or not Path(groups[name]).is_relative_to(root):
                continue
            folder = Path(top) / Path(groups[name]).relative_to(root)
            if name:
                divided[name] = folder
            else:
                unified = Path(top), folder
    if unified is not None:
        base, folder = unified
        for above in [folder, *folder.parents]:
            if above.is_relative_to(base) and _passes_on(above):
                yield Place(True, (above,))
    if all(name in divided for name in CONTROLLERS):
        yield Place(False, tuple(divided[name] for name in CONTROLLERS))


def _passes_on(folder: Path) -> bool:
    try:
        return {*CONTROLLERS} <= {*(folder / "cgroup.subtree_control").read_text().split()}
    except OSError:
        return False


class Slot:
    """One group, for one process at a time.

    Attributes:
        doors: descriptors; a process that writes "0" to each of them has entered.
    """

    def __init__(self, place: Place, memory: int, tasks: int) -> None:
        self._unified = place.unified
        self._name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self._folders = [folder / self._name for folder in place.folders]
        self.doors: list[int] = []
        self._lock = -1
        try:
            for folder in self._folders:
                folder.mkdir()
            self._lock = os.open(self._folders[0], os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._bound(memory, tasks)
            for folder in self._folders:
                self.doors.append(os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        except OSError:
            with contextlib.suppress(OSError):
                self.remove()
            raise

    def _bound(self, memory: int, tasks: int) -> None:
        held, counted = self._folders[0], self._folders[-1]
        if self._unified:
            limits = {held / "memory.max": memory, held / "memory.oom.group": 1, held / "memory.swap.max": 0}
            swap = held / "memory.swap.max"
        else:
            swap = held / "memory.memsw.limit_in_bytes"
            limits = {held / "memory.limit_in_bytes": memory, swap: memory}
        for file, limit in {**limits, counted / "pids.max": tasks}.items():
            # Kernels without accounting of swap have no such file.
            if file != swap or file.exists():
                file.write_text(str(limit))
                if int(file.read_text()) > limit:
                    raise OSError(errno.EINVAL, f"{file.name} does not hold")

    def holds(self, pid: int) -> bool:
        """Whether the kernel says that a process is in it."""
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        return sum(line.endswith(f"/{self._name}") for line in lines) == len(self._folders)

    def clear(self) -> None:
        """End whatever is in it. Raises VEvolveError where something does not end."""
        deadline = time.monotonic() + GONE_S
        while left := self._inside():
            if time.monotonic() > deadline:
                raise VEvolveError(f"Processes {left} of a candidate do not end, though they were killed.")
            if self._unified:
                with contextlib.suppress(OSError):
                    (self._folders[0] / "cgroup.kill").write_text("1")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)

    def _inside(self) -> list[int]:
        found: set[int] = set()
        for folder in self._folders:
            with contextlib.suppress(FileNotFoundError):
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        # 0 stands for a process that cannot be seen from here, and to kill(2) for our own group.
        return sorted(found - {0})

    @property
    def exists(self) -> bool:
        """Whether nobody has removed it, as a service manager may."""
        return all(folder.is_dir() for folder in self._folders)

    def remove(self) -> None:
        """End what is in it, and remove it."""
        self.clear()
        for folder in self._folders:
            _remove(folder)
        for handle in (*self.doors, self._lock):
            if handle >= 0:
                os.close(handle)
        self.doors, self._lock = [], -1


class Slots:
    """The slots of one sandbox, made as they are needed.

    Args:
        memory: bytes that one process may use.
        tasks: threads that it may have.

    Raises:
        OSError: none can be made on this machine; `strerror` says why.
    """

    def __init__(self, memory: int, tasks: int) -> None:
        self._memory, self._tasks = memory + WARM_BYTES, tasks
        self._all: list[Slot] = []
        self._free: list[Slot] = []
        refusal = "no group that is ours to divide has the controllers memory and pids"
        for place in places(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()):
            self._place = place
            try:
                self._free.append(self._make())
            except OSError as error:
                refusal = f"{place.folders[0]}: {error.strerror}"
            else:
                return
        raise OSError(errno.EACCES, refusal)

    def _make(self) -> Slot:
        with _alone(self._place.folders[0]):
            _sweep(self._place)
            slot = Slot(self._place, self._memory, self._tasks)
        self._all.append(slot)
        return slot

    def take(self) -> Slot:
        """An empty slot. Raises OSError."""
        while self._free:
            slot = self._free.pop()
            if slot.exists:
                return slot
        return self._make()

    def give_back(self, slot: Slot) -> None:
        """See that the slot is empty, and let the next process have it."""
        slot.clear()
        self._free.append(slot)

    def close(self) -> None:
        """Remove them all, and end what is in them."""
        for slot in self._all:
            with contextlib.suppress(OSError):
                slot.remove()
        self._all, self._free = [], []


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None, None, None]:
    """One sandbox at a time makes and removes slots in a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    deadline = time.monotonic() + GONE_S
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Anybody may lock a folder that is open to all, and must not be able to hold us up.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
        yield
    finally:
        os.close(handle)


def _sweep(place: Place) -> None:
    """Remove what owners left that were killed."""
    for folder in place.folders[0].glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for other in place.folders:
                    with contextlib.suppress(FileNotFoundError):
                        (other / folder.name).rmdir()
            finally:
                os.close(handle)


def _remove(folder: Path) -> None:
    """Remove a group; an ended process leaves it a moment after it is gone."""
    deadline = time.monotonic() + GONE_S
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return
