"""The seccomp program: the system calls that a candidate's process may make, and no others.

A list of what is allowed, so that calls of newer kernels are refused too. Threads can be started and files that
Landlock grants can be read. There are no processes, no programs, no sockets, no signals to others, no namespaces, and
none of the calls through which two processes that read the same file could tell each other something (locks, leases,
watches, residency in the page cache).

There are three: for a candidate on the CPU, which is the base; on a GPU, with the ioctls of its driver; and for the
compiler of kernels, with processes.

The program is shipped as the kernel's instructions, in `seccomp.json` and its siblings, so that nothing but the kernel
is needed to load it. `generate` makes it from the lists below; a test compares what is shipped with what it makes.
"""

from __future__ import annotations

import errno
import functools
import json
import platform
import struct
import tempfile
from pathlib import Path
from typing import Literal, get_args

ALLOWED = tuple(
    """
read write readv writev pread64 pwrite64 close lseek dup dup2 dup3 fstat stat lstat newfstatat statx access faccessat
faccessat2 open openat getdents getdents64 getcwd chdir readlink readlinkat ftruncate truncate mkdir mkdirat unlink
unlinkat rmdir rename renameat renameat2 umask fsync fdatasync pipe pipe2 poll ppoll select pselect6 eventfd2
epoll_create1 epoll_ctl epoll_wait epoll_pwait close_range
mmap munmap mprotect mremap madvise brk membarrier
set_robust_list rseq set_tid_address sched_yield getcpu
exit exit_group restart_syscall gettid getpid getppid getpgrp getuid geteuid
getgid getegid getgroups getresuid getresgid
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack rt_sigtimedwait
nanosleep gettimeofday time times getrusage getrandom uname
setitimer getitimer alarm pause sysinfo getrlimit
""".split()  # noqa: SIM905
)

ENOSYS = ("clone3",)
"""glibc then falls back to `clone`, whose flags a filter can see."""

CLONE_THREAD = 0x00010000
PRCTL = (15, 16, 0x53564D41)
"""The name of a thread, read and written, and of a mapping."""
FUTEX_PRIVATE, FUTEX_REALTIME, FUTEX_WAITS = 128, 256, (0, 9)
"""A futex in a library's page, which all processes share, would wake one from another: by a call, or by the end of a
thread, which no filter sees. So nobody sleeps on such a one. C++ does, where two threads need a static variable for the
first time, and the C library where it joins a thread: they are told that the value has changed, and look again at
once, which costs CPU time until the other thread is done: against the limit, and in the cost of an examination. Were
the wait allowed and the waking not, they would sleep for ever."""
SET_DUMPABLE = 4
FCNTL = (0, 1, 2, 3, 4, 1030)
"""Duplicating descriptors and their flags; no locks, leases or pipe sizes."""
IOCTL = (0x5401, 0x5450, 0x5451, 0x5421, 0x541B)
"""Is it a terminal, close-on-exec on and off, non-blocking, bytes that wait."""
CLOCKS, LAST_CLOCK = ("clock_gettime", "clock_getres", "clock_nanosleep"), 11
"""The system's clocks and its own. Numbers above, and below zero, stand for clocks of other processes."""
OF_ITSELF = ("prlimit64", "sched_getaffinity")
"""Calls about a process that may only ask about their own: another number tells whether that process exists."""
BAD_ARCHITECTURE = 2

DRIVER_FAMILY, DRIVER_MASK = 0x4600, 0xFF00
"""The ioctls of /dev/nvidiactl and /dev/nvidia<number> are of the type 'F'."""
UNIFIED_MEMORY = (0x17, 0x18, 0x1A, 0x1B, 0x1C, 0x21, 0x22, 0x49)
"""Those of /dev/nvidia-uvm that PyTorch makes after CUDA is initialised, seen with driver 580: ranges are created,
mapped, freed; channels come and go. The ones that open a device are over by then."""
PROCESSES = ("fork", "vfork", "execve", "wait4", "waitid", "arch_prctl")
"""What running an assembler takes, and starting up in it. Landlock says which program may be executed."""
NEW_NAMESPACES = 0x7E020080

Purpose = Literal["cpu", "gpu", "build"]
SHIPPED = Path(__file__).with_name("seccomp.json")
ARCHITECTURES = {"x86_64": "X86_64", "aarch64": "AARCH64"}
"""As the machine calls itself, and as libseccomp does."""


@functools.cache
def program(purpose: Purpose = "cpu") -> bytes:
    """The shipped program for this machine.

    Raises:
        OSError: there is none for its architecture.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no filter ships for {machine}, only for 64-bit {', '.join(ARCHITECTURES)}")
    return bytes.fromhex(json.loads(shipped(purpose).read_text())[machine])


def shipped(purpose: Purpose) -> Path:
    """The file that holds a purpose's programs, by architecture."""
    return SHIPPED if purpose == "cpu" else SHIPPED.with_stem(f"seccomp_{purpose}")


def generate(machine: str, purpose: Purpose = "cpu") -> bytes:
    """The program for an architecture, made anew. Needs pyseccomp and libseccomp, which only developers have.

    Raises:
        ImportError, RuntimeError: they are not installed.
    """
    import pyseccomp as seccomp  # type: ignore[import-untyped]

    target = getattr(seccomp.Arch, ARCHITECTURES[machine])
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    rules.set_attr(BAD_ARCHITECTURE, seccomp.KILL_PROCESS)
    if target != seccomp.system_arch():
        rules.add_arch(target)
        rules.remove_arch(seccomp.Arch.NATIVE)
    for name in ALLOWED:
        # Older calls do not exist on every architecture.
        if seccomp.resolve_syscall(target, name) >= 0:
            rules.add_rule(seccomp.ALLOW, name)
    for name in ENOSYS:
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), name)
    equal, thread = seccomp.EQ, seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, CLONE_THREAD)
    if purpose == "build":
        rules.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, NEW_NAMESPACES, 0))
        for name in PROCESSES:
            if seccomp.resolve_syscall(target, name) >= 0:
                rules.add_rule(seccomp.ALLOW, name)
    else:
        rules.add_rule(seccomp.ALLOW, "clone", thread)
    if purpose == "gpu":
        family = seccomp.Arg(1, seccomp.MASKED_EQ, DRIVER_MASK, DRIVER_FAMILY)
        rules.add_rule(seccomp.ALLOW, "ioctl", family)
        for number in UNIFIED_MEMORY:
            rules.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, equal, number))
    rules.add_rule(seccomp.ALLOW, "futex", seccomp.Arg(1, seccomp.MASKED_EQ, FUTEX_PRIVATE, FUTEX_PRIVATE))
    for wait in FUTEX_WAITS:
        shared = seccomp.Arg(1, seccomp.MASKED_EQ, ~FUTEX_REALTIME & 0xFFFFFFFF, wait)
        rules.add_rule(seccomp.ERRNO(errno.EAGAIN), "futex", shared)
    for name in OF_ITSELF:
        rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(0, equal, 0))
    for name in CLOCKS:
        rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(0, seccomp.LE, LAST_CLOCK))
    for name, place, values in (("prctl", 0, PRCTL), ("fcntl", 1, FCNTL), ("ioctl", 1, IOCTL)):
        for value in values:
            rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(place, equal, value))
    rules.add_rule(seccomp.ALLOW, "prctl", seccomp.Arg(0, equal, SET_DUMPABLE), seccomp.Arg(1, equal, 0))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def ship() -> None:
    """Write the shipped file anew, after a change of the lists above."""
    for purpose in get_args(Purpose):
        made = {machine: generate(machine, purpose).hex() for machine in ARCHITECTURES}
        shipped(purpose).write_text(json.dumps(made, indent=1) + "\n")
