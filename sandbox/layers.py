"""The layers of isolation: those that the zygote enters once, and those that each child puts on by itself.

Entered once: a user namespace (for an ordinary user), an empty network, and a root file system that holds the Python
installation, read-only, and nothing else of the machine. A folder such as a home directory of mode 0700 on the way
to the interpreter does not stand in the way there: the new root has its own folders, open to all, and the
installation mounted at its usual path. Nothing on the real file system is changed.

Put on by each child, in this order: a control group, its own mounts with a small scratch folder in memory, limits, a
session of its own, an unprivileged user, no capabilities, Landlock, no descriptors but three and the channel, seccomp.

The zygote loads this file by path, so it imports nothing of vevolve.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vevolve.sandbox import landlock
else:
    import landlock

NEW_MOUNTS, NEW_HOSTNAME, NEW_IPC, NEW_USER = 0x00020000, 0x04000000, 0x08000000, 0x10000000
NEW_PIDS, NEW_NETWORK = 0x20000000, 0x40000000
MS_READ_ONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
DETACH = 2
MOUNT_SETATTR, AT_RECURSIVE = 442, 0x8000
PR_DEATH_SIGNAL, PR_DUMPABLE, PR_DROP_BOUNDING, PR_NO_NEW_PRIVILEGES, PR_AMBIENT = 1, 4, 24, 38, 47
CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, LAST_CAPABILITY = 6, 7, 21, 63
CAPABILITY_VERSION = 0x20080522
SECCOMP, ALL_THREADS = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), 317), 1

SCRATCH = "/.candidate"
"""In the new root. Landlock lets a child write below it; each child mounts its own memory at `own`."""
OWN = f"{SCRATCH}/own"

CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine(), 56)
CHILD_CLEARTID, CHILD_SETTID = 0x00200000, 0x01000000
PR_GET_TID_ADDRESS = 40
MADV_COLLAPSE, HUGE = 25, 1 << 21

_libc = ctypes.CDLL(None, use_errno=True)
_locked = ctypes.PyDLL(None, use_errno=True)
"""Keeps the interpreter's lock over a call."""


def attempt(layers: dict[str, str], name: str, act: Callable[[], Any], withheld: Sequence[str]) -> bool:
    """Put on one layer and note that it is active, or why it is not."""
    if name in withheld:
        layers[name] = "absent: withheld"
        return False
    try:
        act()
    except OSError as error:
        layers[name] = f"absent: {error.strerror or error}"
        return False
    layers[name] = "active"
    return True


# ------------------------------------------------------------------------------------------------ the zygote's


def is_privileged() -> bool:
    """Whether this process may make namespaces without a user namespace."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return os.geteuid() == 0 and bool(effective >> CAP_SYS_ADMIN & 1)


def may_switch_users(first: int, count: int) -> bool:
    """Whether this process may take any of `count` identities from `first` on."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    if not (effective >> CAP_SETGID & 1 and effective >> CAP_SETUID & 1):
        return False
    ranges = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(start <= first and first + count <= start + length for start, _, length in ranges)


def enter_user_namespace() -> None:
    """Own capabilities that count only inside. The identity stays the same."""
    user, group = os.geteuid(), os.getegid()
    unshare(NEW_USER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def enter_root(folders: Sequence[str], files: Sequence[str], links: Sequence[tuple[str, str]]) -> None:
    """Leave the machine's file system for one in memory that holds these folders and files, read-only."""
    unshare(NEW_MOUNTS)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    root = next(path for path in ("/sys", "/dev", "/mnt") if Path(path).is_dir())
    # Held by descriptor, since the new root may cover a path.
    handles = {path: os.open(path, os.O_PATH) for path in (*folders, *files)}
    _mount("tmpfs", root, "tmpfs", MS_NOSUID, "size=1m,mode=755")
    for path, handle in handles.items():
        place = Path(root + path)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if path in folders:
            place.mkdir(mode=0o755, exist_ok=True)
        else:
            place.touch()
        _mount(f"/proc/self/fd/{handle}", str(place), None, MS_BIND | MS_REC)
        device = path.startswith("/dev/")
        _set_attributes(str(place), MS_READ_ONLY * (not device) | MS_NOSUID | MS_NODEV * (not device))
        os.close(handle)
    for path, target in links:
        place = Path(root + path)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.symlink_to(target)
    for path in (OWN, "/.old"):
        Path(root + path).mkdir(mode=0o755, parents=True)
    _check(_libc.pivot_root(root.encode(), f"{root}/.old".encode()), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/.old", DETACH), "umount")
    Path("/.old").rmdir()
    _set_attributes("/", MS_READ_ONLY | MS_NOSUID, recursive=False)


def hide_hostname() -> None:
    """Be on a machine of another name."""
    unshare(NEW_HOSTNAME)
    _check(_libc.sethostname(b"sandbox", 7), "sethostname")


def be_first_to_go() -> None:
    """When memory runs out, let the kernel end this process and its children before any other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def tasks_of(user: int) -> int:
    """Threads that an identity has now, as far as they can be seen."""
    found = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            lines = (line.partition(":") for line in status.read_text().splitlines())
            fields = {name: words for name, _, words in lines}
            if int(fields["Uid"].split()[0]) == user:
                found += int(fields["Threads"])
    return found


def forbid_new_privileges() -> None:
    """For this process and all that come from it."""
    _check(_libc.prctl(PR_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")


def drop_bounding_set() -> None:
    """No capability can come back through a program that is executed."""
    for capability in range(LAST_CAPABILITY + 1):
        if _libc.prctl(PR_DROP_BOUNDING, capability, 0, 0, 0) < 0:
            break


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` names. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def fork(new_pids: bool) -> int:
    """Fork; the child is process 1 of a new process namespace where asked for.

    By the system call itself, because unshare(2) can make such a namespace only once, and because an ordinary user may
    not return from it. What `os.fork` does around the call is done here: Python's own steps, and the C library's note
    of its thread id, whose address the kernel knows.
    """
    flags, tid = int(signal.SIGCHLD), ctypes.c_void_p()
    if new_pids:
        flags |= NEW_PIDS
    if _libc.prctl(PR_GET_TID_ADDRESS, ctypes.byref(tid), 0, 0, 0) == 0:
        flags |= CHILD_SETTID | CHILD_CLEARTID
    rest = (0, tid, 0) if CLONE == 56 else (0, 0, tid)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _locked.syscall(CLONE, ctypes.c_ulong(flags), 0, *rest)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, os.strerror(code))
    return int(pid)


def try_pids() -> None:
    """Raise OSError where a process namespace cannot be made."""
    pid = fork(new_pids=True)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def fold_memory() -> None:
    """Bring this process's memory onto huge pages, where the kernel can (6.1).

    A fork copies a page table entry for each page and the end of a child removes it, which is most of what a child
    costs; with pages 512 times as large it is a third.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, *rest = line.split()
        if "w" not in rights or (len(rest) > 3 and not rest[3].startswith("[")):
            continue
        low, high = (int(word, 16) for word in place.split("-"))
        for start in range(-(-low // HUGE) * HUGE, high // HUGE * HUGE, HUGE):
            _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(HUGE), MADV_COLLAPSE)


# ------------------------------------------------------------------------------------------------- the child's


def enter_group(doors: Sequence[int]) -> None:
    """Enter the control group whose lists of processes these descriptors are. There is no way out without them."""
    for door in doors:
        os.write(door, b"0")


def mount_scratch(size: int, user: int) -> None:
    """Its own view of the mounts, with an empty folder of `size` bytes at most."""
    unshare(NEW_MOUNTS)
    _mount("tmpfs", OWN, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, f"size={size},mode=700,uid={user},nr_inodes=1024")
    os.chdir(OWN)


def mount_processes() -> None:
    """A view of /proc that shows this process namespace alone. In its own view of the mounts."""
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def limit(
    memory: int, cpu_s: int, threads: int, file_bytes: int, descriptors: int = 64, reserves: bool = False
) -> None:
    """Bounds of the kernel.

    Args:
        memory: the whole address space, in bytes; where the process `reserves` far more than it uses, as CUDA does,
            what it may write to privately.
        cpu_s: of all threads together.
        threads: that the identity may have, wherever they run.
        file_bytes: of one file.
    """
    bounds = {
        resource.RLIMIT_DATA if reserves else resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: descriptors,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
        resource.RLIMIT_NPROC: threads,
    }
    for name, bound in bounds.items():
        hard = resource.getrlimit(name)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(name, (bound, bound))


def become(user: int) -> None:
    """Take an identity that owns nothing."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def drop_capabilities() -> None:
    """Hold none, and inherit none."""
    _libc.prctl(PR_AMBIENT, 4, 0, 0, 0)
    header, sets = struct.pack("Ii", CAPABILITY_VERSION, 0), bytes(24)
    _check(_libc.capset(header, sets), "capset")


def die_with_parent() -> None:
    """Be killed when the zygote ends. After a change of identity, which clears it."""
    _check(_libc.prctl(PR_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "death signal")


def be_undumpable() -> None:
    """Close /proc/<pid> to others of the same identity."""
    _check(_libc.prctl(PR_DUMPABLE, 0, 0, 0, 0), "dumpable")


def keep_only(channel: int, log: int) -> int:
    """Leave nothing open but /dev/null as input, the log as output, and the channel, which becomes descriptor 3."""
    null = os.open("/dev/null", os.O_RDONLY)
    # Out of the way of the four that are kept.
    high = [os.dup2(source, 60 + place, inheritable=False) for place, source in enumerate((null, log, log, channel))]
    for place, source in enumerate(high):
        os.dup2(source, place)
    _check(_libc.close_range(4, 0xFFFFFFFF, 0), "close_range")
    return 3


def filter_system_calls(program: bytes) -> None:
    """Enforce a seccomp program, given as the kernel's instructions, on all threads that this process has."""
    instructions = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("count", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]

    loaded = Program(len(program) // 8, ctypes.addressof(instructions))
    result = _libc.syscall(SECCOMP, 1, ALL_THREADS, ctypes.byref(loaded))
    if result > 0:
        raise OSError(errno.EBUSY, f"thread {result} does not take the filter of system calls")
    _check(result, "seccomp")


def enforce_landlock(rules: int) -> None:
    """Enforce the rule set that the zygote prepared."""
    landlock.enforce(rules)


# ------------------------------------------------------------------------------------------------------ calls


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    _check(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount {target}")


def _set_attributes(path: str, attributes: int, recursive: bool = True) -> None:
    """The first three attributes of mount_setattr(2) are those of mount(2)."""
    packed = struct.pack("QQQQ", attributes, 0, 0, 0)
    _check(
        _libc.syscall(
            MOUNT_SETATTR, -100, path.encode(), AT_RECURSIVE * recursive, packed, ctypes.c_size_t(len(packed))
        ),
        f"mount_setattr {path}",
    )


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
