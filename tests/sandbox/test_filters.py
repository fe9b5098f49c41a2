"""The shipped seccomp programs, executed by a small interpreter of the kernel's instructions."""

from __future__ import annotations

import errno
import itertools
import platform
import struct
from collections.abc import Sequence

import pytest

from vevolve.sandbox import filters

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What the kernel calls each architecture."""
NUMBERS = {
    "x86_64": {"read": 0, "openat": 257, "clone": 56, "futex": 202, "prctl": 157, "fcntl": 72, "ioctl": 16}
    | {"prlimit64": 302, "clone3": 435, "socket": 41, "kill": 62, "execve": 59, "ptrace": 101, "unshare": 272}
    | {"setrlimit": 160, "fork": 57, "io_uring_setup": 425, "seccomp": 317, "mount": 165},
    "aarch64": {"read": 63, "openat": 56, "clone": 220, "futex": 98, "prctl": 167, "fcntl": 25, "ioctl": 29}
    | {"prlimit64": 261, "clone3": 435, "socket": 198, "kill": 129, "execve": 221, "ptrace": 117, "unshare": 97}
    | {"setrlimit": 164, "io_uring_setup": 425, "seccomp": 277, "mount": 40},
}
"""From the kernel's own tables, written down independently of libseccomp."""
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
WORDS = (0, 1, 2, 3, 4, 9, 15, 16, 22, 128, 129, 256, 265, 1030, 0x5401, 0x541B, 0x10000, 0x3D0F00, 0x53564D41)

machines = pytest.mark.parametrize("machine", filters.ARCHITECTURES)


def shipped(machine: str, purpose: filters.Purpose = "cpu") -> bytes:
    import json

    return bytes.fromhex(json.loads(filters.shipped(purpose).read_text())[machine])


def decide(program: bytes, architecture: int, number: int, args: Sequence[int] = ()) -> int:
    """What the kernel would do with a call."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *args, *[0] * (6 - len(args)))
    steps = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at, held = 0, 0
    while True:
        code, yes, no, word = steps[at]
        at += 1
        if code == 0x20:
            held = struct.unpack_from("<I", data, word)[0]
        elif code == 0x54:
            held &= word
        elif code == 0x05:
            at += word
        elif code == 0x06:
            return int(word)
        else:
            met = {0x15: held == word, 0x25: held > word, 0x35: held >= word, 0x45: bool(held & word)}[code]
            at += yes if met else no


@machines
@pytest.mark.parametrize("purpose", ["cpu", "gpu", "build"])
def test_what_ships_decides_as_what_the_lists_make(machine: str, purpose: filters.Purpose) -> None:
    pytest.importorskip("pyseccomp", reason="making the program anew needs pyseccomp and libseccomp")
    ours, made = shipped(machine, purpose), filters.generate(machine, purpose)
    for number in range(-1, 1024):
        assert decide(ours, AUDIT[machine], number) == decide(made, AUDIT[machine], number), number
    for name in ("clone", "futex", "prctl", "fcntl", "ioctl", "prlimit64"):
        number = NUMBERS[machine][name]
        for args in itertools.product(WORDS, WORDS):
            assert decide(ours, AUDIT[machine], number, args) == decide(made, AUDIT[machine], number, args), name


@machines
def test_each_architecture_decides_as_the_lists_say(machine: str) -> None:
    program, number = shipped(machine), NUMBERS[machine]

    def asked(name: str, *args: int) -> int:
        return decide(program, AUDIT[machine], number[name], args)

    assert asked("read") == asked("openat") == asked("clone", 0x10F00) == asked("prlimit64") == ALLOW
    assert asked("clone3") == 0x00050000 | errno.ENOSYS
    for name in ("socket", "kill", "execve", "ptrace", "unshare", "setrlimit", "io_uring_setup", "seccomp", "mount"):
        assert asked(name) == REFUSE, name
    assert asked("clone", 17) == asked("prlimit64", 1) == asked("fcntl", 0, 6) == asked("ioctl", 0, 0x5412) == REFUSE
    assert asked("prctl", 4, 0) == ALLOW and asked("prctl", 4, 1) == REFUSE
    assert all(asked("futex", 0, 128 | act) == ALLOW for act in (0, 1, 9, 256, 265))
    assert {asked("futex", 0, wait) for wait in (0, 9, 256, 265)} == {0x00050000 | errno.EAGAIN}
    assert {asked("futex", 0, act) for act in (1, 3, 4, 5, 6, 10, 11, 257)} == {REFUSE}
    other = next(audit for name, audit in AUDIT.items() if name != machine)
    assert decide(program, other, number["read"]) == KILL


def test_calls_of_the_32_bit_kind_are_refused_on_x86() -> None:
    program = shipped("x86_64")
    assert decide(program, 0x40000003, 3) == KILL
    assert decide(program, AUDIT["x86_64"], 0x40000000) in (KILL, REFUSE)


def test_a_machine_without_a_shipped_program_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    filters.program.cache_clear()
    try:
        with pytest.raises(OSError, match="riscv64"):
            filters.program()
    finally:
        monkeypatch.undo()
        filters.program.cache_clear()


def test_the_filter_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    filters.program.cache_clear()
    assert filters.program() == shipped(platform.machine())


@machines
def test_a_gpu_adds_the_ioctls_of_its_driver_and_nothing_else(machine: str) -> None:
    base, program, number = shipped(machine), shipped(machine, "gpu"), NUMBERS[machine]
    for call in range(1024):
        if call != number["ioctl"]:
            assert decide(program, AUDIT[machine], call) == decide(base, AUDIT[machine], call), call
    for request in (0xC020462A, 0x4600, 0xC00446C8, *filters.UNIFIED_MEMORY):
        assert decide(program, AUDIT[machine], number["ioctl"], (3, request)) == ALLOW
        assert decide(base, AUDIT[machine], number["ioctl"], (3, request)) == REFUSE
    for request in (0x5412, 0x8933, 0x4004667F, 0x30000001, 0x25, 0x19, 0xC0046401):
        assert decide(program, AUDIT[machine], number["ioctl"], (3, request)) == REFUSE, hex(request)


@machines
def test_the_compiler_gets_processes_and_programs_but_no_namespace_socket_or_signal(machine: str) -> None:
    program, number = shipped(machine, "build"), NUMBERS[machine]
    for name, args in (("execve", ()), ("clone", (17,)), ("clone", (0x4111,)), ("clone", (0x3D0F00,))):
        assert decide(program, AUDIT[machine], number[name], args) == ALLOW, name
    for flags in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(program, AUDIT[machine], number["clone"], (flags | 17,)) == REFUSE, hex(flags)
    for name in ("socket", "kill", "ptrace", "unshare", "setrlimit", "io_uring_setup", "seccomp", "mount"):
        assert decide(program, AUDIT[machine], number[name]) == REFUSE, name
