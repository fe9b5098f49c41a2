"""What each purpose of a process is given, and what the compiler's processes may do. No GPU is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vevolve.errors import SandboxUnavailable
from vevolve.sandbox import Sandbox, probe, profiles
from vevolve.sandbox.compiler import Compiler, Machine
from vevolve.types import Candidate, CandidateFault, Json

if probe().level < "L2":
    pytest.skip("the compiler needs namespaces, which this machine does not give", allow_module_level=True)
pytest.importorskip("triton", reason="the compiler is Triton's")


@pytest.mark.skipif(bool(profiles.gpus()), reason="this machine has a GPU")
def test_where_there_is_no_gpu_the_profile_says_what_is_missing() -> None:
    with pytest.raises(SandboxUnavailable, match="expected /dev/nvidia0 and /dev/nvidia-uvm, found no device file"):
        profiles.gpu()


def test_a_profile_of_a_gpu_names_that_device_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "gpus", lambda: (0, 1, 2))
    monkeypatch.setattr(profiles, "driver_folder", lambda: "/usr/lib")
    found = profiles.gpu(1)
    assert found.devices == ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia1") and found.executables == ()
    with pytest.raises(SandboxUnavailable, match="/dev/nvidia3"):
        profiles.gpu(3)


def test_only_the_named_files_of_devices_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """With files of the memory device in the place of a GPU's."""
    profile = dataclasses.replace(profiles.CPU, devices=("/dev/zero",), folders=())
    text = (
        "import errno, os\ndef f():\n    found = [os.read(os.open('/dev/zero', os.O_RDWR), 2) == bytes(2)]\n"
        "    for path in ('/dev/full', '/dev/tty', '/dev/random'):\n        try: os.open(path, os.O_RDONLY)\n"
        "        except OSError as error: found.append(errno.errorcode[error.errno])\n    return found"
    )
    with Sandbox(arrays="numpy", profile=profile) as sandbox:
        found = sandbox.subject(Candidate(text)).call("f", returns=Json())
    assert found[0] is True and len(found) == 4 and set(found[1:]) <= {"EACCES", "ENOENT"}


# -------------------------------------------------------------------------------------------------- the compiler

KERNEL = """
import triton
import triton.language as tl

@triton.jit
def add(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, at < n) + 1, at < n)
"""
SIGNATURE = {"x": "*fp32", "y": "*fp32", "n": "i32", "BLOCK": "constexpr"}


@pytest.fixture(scope="module")
def compiler() -> Iterator[Compiler]:
    with Compiler() as compiler:
        yield compiler


def test_a_kernel_becomes_machine_code_for_the_gpu_that_was_asked_for(compiler: Compiler) -> None:
    made = compiler.compile(KERNEL, "add", SIGNATURE, {"BLOCK": 128}, ["x", "y"], num_warps=8)
    assert isinstance(made, Machine) and made.name == "add" and made.warps == 8 and made.shared == 0
    assert made.code.startswith(b"\x7fELF") and compiler.containment.level >= "L2"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (KERNEL.replace("tl.load(x", "tl.lod(x"), "lod"),
        ("def add(): pass", "arg_names"),
        ("1 +", "SyntaxError"),
        ("import time\nraise RuntimeError('no kernel today')", "no kernel today"),
    ],
    ids=["unknown function", "no kernel", "syntax", "raises"],
)
def test_a_source_that_does_not_compile_is_a_fault_with_the_compilers_words(
    source: str, message: str, compiler: Compiler
) -> None:
    with pytest.raises(CandidateFault) as caught:
        compiler.compile(source, "add", SIGNATURE, {"BLOCK": 128})
    assert caught.value.status == "crash" and message in caught.value.feedback


GOOD = b"\x7fELF" + bytes(14) + b"\xbe\0" + bytes(100)
TOLD = {"num_warps": 4, "shared": 0, "global_scratch_size": 0, "profile_scratch_size": 0, "name": "add"}
FORGED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "no machine code": (b"nonsense" * 20, {}),
    "cut short": (GOOD[:20], {}),
    "of another machine": (GOOD.replace(b"\xbe", b"\x3e"), {}),
    "too much shared memory": (GOOD, {"shared": 1 << 30}),
    "a negative number": (GOOD, {"global_scratch_size": -1}),
    "a number that is none": (GOOD, {"num_warps": "4"}),
    "a truth as a number": (GOOD, {"num_warps": True}),
    "a name that is none": (GOOD, {"name": "a b"}),
    "a name that is a number": (GOOD, {"name": 7}),
}


def forged(code: bytes, told: dict[str, Any]) -> str:
    """A source that replaces the compiler in its process."""
    return KERNEL + (
        f"import types\nclass Told: _asdict = staticmethod(lambda: {told!r})\n"
        f"triton.compile = lambda *a, **k: types.SimpleNamespace(metadata=Told, asm={{'cubin': {code!r}}})\n"
    )


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_answer_of_the_compilers_process_is_refused(name: str, compiler: Compiler) -> None:
    code, told = FORGED[name]
    with pytest.raises(CandidateFault, match="did not return a kernel"):
        compiler.compile(forged(code, TOLD | told), "add", SIGNATURE, {"BLOCK": 128})


def test_a_forged_answer_of_the_right_form_is_code_like_any_other(compiler: Compiler) -> None:
    made = compiler.compile(forged(GOOD, TOLD), "add", SIGNATURE, {"BLOCK": 128})
    assert made == Machine("add", GOOD, 4, 0, (0, 0))


REFUSED = {
    "another program": (
        "import subprocess; subprocess.run([sys.executable, '-c', '1'])",
        {"EACCES", "ENOENT", "EPERM"},
    ),
    "a shell": ("os.execv('/bin/sh', ['sh'])", {"EACCES", "ENOENT"}),
    "a program of its own": ("shutil(); os.execv('./own', ['own'])", {"EACCES"}),
    "a socket": ("socket.socket()", {"EPERM"}),
    "a signal to all": ("os.kill(-1, 9)", {"EPERM"}),
    "a namespace": ("call('unshare', 0x10000000)", {"EPERM"}),
    "a child in a namespace": ("call('syscall', 56, 0x10000000 | 17, 0, 0, 0, 0)", {"EPERM"}),
    "tracing": ("call('ptrace', 0, 0, 0, 0)", {"EPERM"}),
    "the accounts": ("open('/etc/passwd')", {"EACCES", "ENOENT"}),
    "a device": ("open('/dev/nvidiactl')", {"EACCES", "ENOENT"}),
    "its own memory": ("open('/proc/self/mem')", {"EACCES", "ENOENT"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_compilers_process_runs_the_assembler_and_nothing_else(name: str, compiler: Compiler) -> None:
    body, errors = REFUSED[name]
    text = (
        "import ctypes, errno, os, socket, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(name, *args):\n    if getattr(libc, name)(*args) < 0: raise OSError(ctypes.get_errno(), name)\n"
        "def shutil():\n    with open('own', 'wb') as file: file.write(b'#!/bin/sh\\n')\n"
        f"def f():\n    try:\n        {body}\n"
        "    except OSError as error: return errno.errorcode[error.errno]\n    return 'done'"
    )
    assert compiler._sandbox.subject(Candidate(text)).call("f", returns=Json()) in errors


def test_processes_that_a_kernel_starts_end_with_its_own(compiler: Compiler) -> None:
    text = "import os, time\ndef f():\n    if os.fork() == 0: time.sleep(60)\n    return 1"
    with compiler._sandbox.subject(Candidate(text)).fresh() as process:
        assert process.call("f", returns=Json()) == 1
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        inside = children.read_text().split() if children.exists() else []
    assert not [pid for pid in inside if Path(f"/proc/{pid}").exists()]
    bomb = (
        "import os\ndef f():\n    started = 0\n    while True:\n        try:\n            if os.fork() == 0: os.abort()"
    )
    bomb += "\n        except OSError: return started\n        started += 1"
    assert 1 <= compiler._sandbox.subject(Candidate(bomb)).call("f", returns=Json()) <= 64
