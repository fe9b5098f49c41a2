"""Hostile programs against the real sandbox. Each is a behaviour that has been seen in the wild or is a step to one."""

from __future__ import annotations

import os
import signal
import socket
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vevolve.sandbox import Sandbox
from vevolve.types import Array, Arrays, Candidate, CandidateFault, Json

Ask = Callable[..., Any]
Fault = Callable[..., CandidateFault]

PRELUDE = """
import ctypes, errno, glob, os, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)
def f(*args):
    try:
        return attack(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
def attack(*args):
"""


def program(body: str) -> str:
    return PRELUDE + textwrap.indent(textwrap.dedent(body), "    ")


REFUSED = {  # what is done, and the errors that may refuse it
    "read the accounts": ("return open('/etc/passwd').read()", {"EACCES", "ENOENT"}),
    "read its own maps": ("return open('/proc/self/maps').read()", {"EACCES", "ENOENT"}),
    "read the environment of process 1": ("return open('/proc/1/environ').read()", {"EACCES", "ENOENT"}),
    "list the root": ("return os.listdir('/')", {"EACCES"}),
    "list homes": ("return os.listdir('/root')", {"EACCES", "ENOENT"}),
    # A read-only one is there where the installation itself lies below it.
    "write to the temporary folder": ("open('/tmp/x', 'w')", {"EACCES", "ENOENT", "EROFS"}),
    "write to shared memory": ("open('/dev/shm/x', 'w')", {"EACCES", "ENOENT"}),
    "overwrite numpy": ("open(sys.modules['numpy'].__file__, 'a')", {"EACCES", "EROFS"}),
    "cache a poisoned module": ("open(os.path.dirname(os.__file__) + '/x.py', 'w')", {"EACCES", "EROFS"}),
    "open a tcp socket": ("socket.create_connection(('127.0.0.1', 22))", {"EPERM"}),
    "open a unix socket": ("socket.socket(socket.AF_UNIX)", {"EPERM"}),
    "pair of sockets": ("socket.socketpair()", {"EPERM"}),
    "run a shell": ("subprocess.run(['/bin/sh', '-c', 'id'])", {"EPERM", "ENOENT"}),
    "replace itself": ("os.execv(sys.executable, ['python'])", {"EPERM", "ENOENT", "EACCES"}),
    "fork": ("return os.fork()", {"EPERM"}),
    "fork by vfork": ("call('vfork')", {"EPERM"}),
    "spawn": ("os.posix_spawn('/bin/true', ['true'], {})", {"EPERM", "ENOENT", "EACCES"}),
    "trace another": ("call('ptrace', 16, 1, 0, 0)", {"EPERM"}),
    "read another's memory": ("call('process_vm_readv', 1, None, 0, None, 0, 0)", {"EPERM"}),
    "signal its group": ("os.kill(0, 9)", {"EPERM"}),
    "signal everyone": ("os.kill(-1, 9)", {"EPERM"}),
    "signal its parent": ("os.kill(os.getppid(), 9)", {"EPERM"}),
    "signal by descriptor": ("os.pidfd_open(1)", {"EPERM"}),
    "leave its namespaces": ("call('unshare', 0x10000000)", {"EPERM"}),
    "enter another's": ("call('setns', 3, 0)", {"EPERM"}),
    "mount": ("call('mount', b'x', b'/', b'tmpfs', 0, None)", {"EPERM"}),
    "unmount": ("call('umount2', b'/', 2)", {"EPERM"}),
    "become root": ("os.setuid(0)", {"EPERM"}),
    "take capabilities": ("call('capset', bytes(8), bytes(24))", {"EPERM"}),
    "filter its own calls": ("call('prctl', 22, 2, 0, 0, 0)", {"EPERM"}),
    "be dumped": ("call('prctl', 4, 1, 0, 0, 0)", {"EPERM"}),
    "outlive its parent": ("call('prctl', 1, 0, 0, 0, 0)", {"EPERM"}),
    "share memory by name": ("call('shmget', 0, 4096, 0o1600)", {"EPERM"}),
    "share memory by file": ("os.memfd_create('x')", {"EPERM"}),
    "lock a shared file": ("import fcntl; fcntl.flock(os.open(os.__file__, 0), fcntl.LOCK_EX)", {"EPERM"}),
    "lock a range of one": ("import fcntl; fcntl.lockf(os.open(os.__file__, 0), fcntl.LOCK_SH)", {"EPERM"}),
    "watch files": ("call('inotify_init1', 0)", {"EPERM"}),
    "wake another by a file that both map": ("call('syscall', 202, ctypes.byref(ctypes.c_int(0)), 1, 1)", {"EPERM"}),
    "sleep until another wakes it there": (
        "second = ctypes.byref((ctypes.c_long * 2)(1, 0))\n"
        "call('syscall', 202, ctypes.byref(ctypes.c_int(0)), 0, 0, second)",
        {"EAGAIN"},
    ),
    "sleep until a thread of another ends there": (
        "soon = ctypes.byref((ctypes.c_long * 2)(int(time.monotonic()) + 2, 0))\n"
        "call('syscall', 202, ctypes.byref(ctypes.c_int(0)), 9, 0, soon, None, -1)",
        {"EAGAIN"},
    ),
    "see the page cache": ("call('mincore', None, 0, None)", {"EPERM"}),
    "use rings": ("call('syscall', 425, 1, None)", {"EPERM"}),
    "use a new call": ("call('syscall', 900, 0)", {"EPERM", "ENOSYS"}),
    "watch page faults": ("call('syscall', 323, 0)", {"EPERM"}),
    "use the keyring": ("call('syscall', 250, 0, 0)", {"EPERM"}),
    "raise its limits": ("call('setrlimit', 9, bytes([255] * 16))", {"EPERM"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forbidden_acts_are_refused_by_the_kernel(name: str, sandbox: Sandbox) -> None:
    body, errors = REFUSED[name]
    assert sandbox.subject(Candidate(program(body))).call("f", returns=Json()) in errors


def test_the_environment_and_the_memory_hold_nothing_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    marker = "sk-" + "".join(["c", "a", "n", "a", "r", "y"] * 3)
    monkeypatch.setenv("OPENAI_API_KEY", marker)
    held = {"key": marker}
    text = """
import ctypes, gc, os, sys
def f():
    environ = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ").value
    words = [word for word in gc.get_objects() if isinstance(word, dict)]
    found = [key for word in words for key, value in list(word.items())
             if isinstance(value, str) and value.startswith("sk-" + "can")]
    return [dict(os.environ), sorted(name for name in sys.modules if "vevolve" in name), found]
"""
    with Sandbox(arrays="numpy") as sandbox:
        environ, modules, found = sandbox.subject(Candidate(text)).call("f", returns=Json())
    assert held and (environ, modules, found) == ({}, [], [])


def test_the_verifier_and_its_data_cannot_be_read_or_imported(ask: Ask) -> None:
    import vevolve.types

    source = str(Path(vevolve.types.__file__).resolve())
    assert ask(program("return open(args[0]).read()"), source) in {"EACCES", "ENOENT"}
    assert ask(program("return open(args[0]).read()"), str(Path(__file__).resolve())) in {"EACCES", "ENOENT"}
    importing = """
def f():
    try:
        import vevolve
    except ImportError as error:
        return type(error).__name__
"""
    assert ask(importing) == "ModuleNotFoundError"


def test_it_has_an_identity_and_a_host_name_of_its_own(sandbox: Sandbox) -> None:
    if sandbox.containment.level < "L2":
        pytest.skip("no namespaces on this machine")
    text = "import os\ndef f(): return [os.getuid(), os.getgid(), os.getpid(), os.uname().nodename]"
    user, group, pid, host = sandbox.subject(Candidate(text)).call("f", returns=Json())
    assert (pid, host) == (1, "sandbox") and not (os.geteuid() == 0 and 0 in (user, group))


def test_modules_load_lazily_whatever_the_mode_of_the_folders_above_python(ask: Ask) -> None:
    names = ["colorsys", "sqlite3", "decimal", "lzma", "numpy.polynomial", "numpy.fft", "scipy.special", "xml.dom"]
    text = "import importlib\ndef f(names): return [importlib.import_module(name).__name__ for name in names]"
    assert ask(text, names) == names


def test_no_descriptor_but_its_own_is_open(ask: Ask) -> None:
    opened = program(
        "found = []\nfor n in range(1024):\n    try:\n        os.fstat(n); found.append(n)\n    except OSError:\n"
        "        pass\nreturn found"
    )
    assert ask(opened) == [0, 1, 2, 3]


def test_a_server_on_the_loopback_is_out_of_reach(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ask(program("socket.create_connection(('127.0.0.1', args[0]))"), port) == "EPERM"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_an_endless_loop_ends_as_a_timeout(fault: Fault) -> None:
    assert fault("def f():\n    while True: pass", timeout=0.3).status == "timeout"


def test_a_loop_at_the_top_level_ends_as_a_timeout() -> None:
    from vevolve.sandbox import Limits

    with Sandbox(arrays="numpy", limits=Limits(call_s=2)) as sandbox, pytest.raises(CandidateFault) as caught:
        sandbox.subject(Candidate("while True: pass")).fresh()
    assert caught.value.status == "timeout"


def test_the_total_deadline_caps_every_call() -> None:
    from vevolve.sandbox import Limits

    slow = Candidate("import time\ndef f(): time.sleep(.2); return 1")
    with (
        Sandbox(arrays="numpy", limits=Limits(total_s=3)) as sandbox,
        sandbox.subject(slow).fresh() as process,
        pytest.raises(CandidateFault) as caught,
    ):
        for _ in range(50):
            process.call("f", returns=Json(), timeout=60)
    assert caught.value.status == "timeout" and "had run 3 s" in caught.value.feedback


def test_many_slow_processes_are_stopped_by_what_the_candidate_is_allowed_in_all() -> None:
    from vevolve.sandbox import Limits

    slow = Candidate("import time\ndef f(): time.sleep(.2); return 1")
    with Sandbox(arrays="numpy", limits=Limits(candidate_s=4)) as sandbox:
        subject = sandbox.subject(slow)
        with pytest.raises(CandidateFault) as caught:
            for _ in range(50):
                subject.call("f", returns=Json())
        assert caught.value.status == "timeout" and "4 s in all" in caught.value.feedback
        assert sandbox.subject(slow).call("f", returns=Json()) == 1


def test_ignoring_every_signal_does_not_help(fault: Fault) -> None:
    text = """
import signal, time
def f():
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True: time.sleep(1)
"""
    assert fault(text, timeout=0.3).status == "timeout"


def test_patched_clocks_move_no_deadline(fault: Fault) -> None:
    text = """
import time
sleep = time.sleep
for name in ("time", "monotonic", "perf_counter", "process_time"): setattr(time, name, lambda: 0.0)
def f(): sleep(30)
"""
    assert fault(text, timeout=0.3).status == "timeout"


def test_a_trickle_of_bytes_moves_no_deadline(fault: Fault) -> None:
    text = "import os, time\ndef f():\n    while True: os.write(3, b'\\0'); time.sleep(.01)"
    assert fault(text, timeout=0.2).status in {"timeout", "protocol"}


@pytest.mark.parametrize(
    "body",
    ["return len(bytearray(8 << 30))", "held = []\n    while True: held.append(bytearray(1 << 24))"],
    ids=["at once", "bit by bit"],
)
def test_a_memory_bomb_is_a_fault_of_resources(body: str, fault: Fault) -> None:
    assert fault(f"def f():\n    {body}").status == "resource"


@pytest.mark.parametrize("what", ["question", "answer"])
def test_a_program_that_leaves_no_memory_for_a_question_or_an_answer_is_at_fault_for_its_resources(
    what: str, sandbox: Sandbox
) -> None:
    text = """
import mmap
held, large = [], b"x" * (8 << 20)
def fill():
    try:
        while True: held.append(mmap.mmap(-1, 1 << 20))
    except (OSError, MemoryError): return len(held)
def question(x): return 1
def answer(): return large.decode()
"""
    with sandbox.subject(Candidate(text)).fresh() as process:
        assert process.call("fill", returns=Json()) > 100
        with pytest.raises(CandidateFault) as caught:
            if what == "question":
                process.call("question", np.zeros(1 << 20), returns=Json())
            else:
                process.call("answer", returns=Json(max_bytes=1 << 24))
    assert caught.value.status == "resource", caught.value
    assert what == "answer" or "left no memory" in caught.value.feedback


def test_a_recursion_without_end_is_a_crash(fault: Fault) -> None:
    assert fault("def f(): return f()").status == "crash"


def test_threads_are_bounded(sandbox: Sandbox) -> None:
    text = """
import threading, time
def f():
    for started in range(5000):
        try: threading.Thread(target=time.sleep, args=(9,)).start()
        except RuntimeError: return started
"""
    started = sandbox.subject(Candidate(text)).call("f", returns=Json())
    assert 1 <= started <= sandbox.limits.threads + 8


def test_the_disk_is_bounded(ask: Ask) -> None:
    body = "with open('x', 'wb') as file:\n    for _ in range(64): file.write(bytes(1 << 20))"
    assert ask(program("signal.signal(25, signal.SIG_IGN)\n" + body)) in {"ENOSPC", "EFBIG", "EACCES"}


def test_a_flood_of_output_is_drained_and_cut(sandbox: Sandbox) -> None:
    text = "def f():\n    for n in range(40000): print('x' * 100)\n    print('\\x1b[31mlast')\n    return 7"
    with sandbox.subject(Candidate(text)).fresh() as process:
        assert process.call("f", returns=Json()) == 7
    assert 0 < len(process.log) <= sandbox.limits.log_bytes
    assert process.log.endswith("[31mlast")


@pytest.mark.parametrize("act", ["os._exit(0)", "os.close(3); __import__('time').sleep(9)"], ids=["exit", "hang up"])
def test_ending_without_an_answer_is_a_fault(act: str, fault: Fault) -> None:
    assert fault(f"import os\ndef f(): {act}").status in {"crash", "protocol"}


def test_a_segmentation_fault_names_the_signal(fault: Fault) -> None:
    found = fault("import ctypes\ndef f(): ctypes.string_at(0)")
    assert (found.status, signal.SIGSEGV.name in found.feedback) == ("crash", True)


def test_exit_is_a_crash_and_not_an_end(fault: Fault) -> None:
    assert fault("import sys\ndef f(): sys.exit(0)").status == "crash"


SPRAY = """
import os
def f():
    for number in range(64):
        try: os.write(number, {payload})
        except OSError: pass
    return 1.0
"""


@pytest.mark.parametrize(
    "payload",
    [
        "bytes(8)",
        "bytes(25)",
        "b'PASS' * 99",
        "bytes(16) + bytes([6]) + (8).to_bytes(8, 'little') + bytes(8)",
        "os.urandom(16) + bytes([6]) + (8).to_bytes(8, 'little') + bytes(8)",
    ],
    ids=["zeros", "a header of zeros", "words", "no nonce", "a wrong nonce"],
)
def test_sprayed_bytes_are_never_an_answer(payload: str, fault: Fault) -> None:
    found = fault(SPRAY.format(payload=payload), returns=Array("f8", ()))
    assert (found.status, "wire format" in found.feedback) == ("protocol", True)


RUNTIME = """
import gc, os, sys, threading, time
def runtime(): return next(found for found in gc.get_objects() if type(found).__name__ == "Runtime")
def frame(nonce, kind=6, body=bytes(8), length=None):
    return nonce + bytes([kind]) + (len(body) if length is None else length).to_bytes(8, "little") + body
"""


def test_an_answer_sent_twice_spoils_the_next_call(sandbox: Sandbox) -> None:
    text = RUNTIME + "def f():\n    os.write(3, frame(runtime().nonce))\n    return 1.0"
    with sandbox.subject(Candidate(text)).fresh() as process, pytest.raises(CandidateFault) as caught:
        for _ in range(2):
            process.call("f", returns=Array("f8", ()))
    assert caught.value.status == "protocol"


def test_an_answer_before_its_question_is_refused(sandbox: Sandbox) -> None:
    text = RUNTIME + (
        "def later(nonce):\n    time.sleep(.05)\n    os.write(3, frame(nonce))\n"
        "def f():\n    threading.Thread(target=later, args=(runtime().nonce,)).start()\n    return 1.0\n"
        "def g(): return 2.0"
    )
    with sandbox.subject(Candidate(text)).fresh() as process:
        assert process.call("f", returns=Array("f8", ())) == 1.0
        with pytest.raises(CandidateFault) as caught:
            for _ in range(1000):
                time.sleep(0.001)
                process.call("g", returns=Array("f8", ()))
    assert caught.value.status == "protocol"


@pytest.mark.parametrize("length", [9, 1 << 20, 1 << 62, (1 << 64) - 1])
def test_an_oversized_answer_is_refused_by_its_header(length: int, fault: Fault) -> None:
    text = RUNTIME + f"def f():\n    os.write(3, frame(runtime().nonce, length={length}))\n    time.sleep(9)"
    assert fault(text, returns=Array("f8", ())).status == "protocol"


def test_a_short_answer_is_a_timeout_or_a_violation(fault: Fault) -> None:
    text = RUNTIME + "def f():\n    os.write(3, frame(runtime().nonce, body=bytes(4), length=8))\n    time.sleep(9)"
    assert fault(text, returns=Array("f8", ()), timeout=0.3).status == "timeout"
    text = RUNTIME + "def f():\n    os.write(3, frame(runtime().nonce, body=bytes(4)))\n    time.sleep(9)"
    assert fault(text, returns=Array("f8", ())).status == "protocol"


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 5, 8, 255])
def test_frames_of_a_strange_kind_are_refused(kind: int, fault: Fault) -> None:
    text = RUNTIME + f"def f():\n    os.write(3, frame(runtime().nonce, kind={kind}))\n    time.sleep(9)"
    assert fault(text, returns=Array("f8", ())).status == "protocol"


def test_requests_without_a_service_are_refused(fault: Fault) -> None:
    text = RUNTIME + "def f():\n    os.write(3, frame(runtime().nonce, kind=4, body=bytes(3)))\n    time.sleep(9)"
    assert fault(text, returns=Array("f8", ())).status == "protocol"


def test_a_pickle_is_data_and_its_code_never_runs(ask: Ask, fault: Fault, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    bomb = f"import os, pickle\nclass Bomb:\n    def __reduce__(self): return os.mkdir, ({str(proof)!r},)\n"
    assert fault(bomb + "def f(): return Bomb()").status == "wrong"
    assert fault(bomb + "def f(): return Bomb()", returns=Arrays()).status == "wrong"
    payload = ask(
        bomb + "import numpy\ndef f(): return numpy.frombuffer(pickle.dumps(Bomb()).ljust(200), 'u1')",
        returns=Array("u1", (200,)),
    )
    assert payload.tobytes().startswith(b"\x80") and not proof.exists()


def test_nan_and_infinity_arrive_as_data(ask: Ask) -> None:
    answer = ask("def f(): return [float('nan'), float('inf'), -0.0]", returns=Array("f8", (3,)))
    assert np.isnan(answer[0]) and np.isinf(answer[1]) and np.signbit(answer[2])


def test_no_process_of_a_candidate_survives_it(sandbox: Sandbox) -> None:
    text = "import threading, time\ndef f():\n    threading.Thread(target=time.sleep, args=(60,)).start()\n    return 1"
    with sandbox.subject(Candidate(text)).fresh() as process:
        assert process.call("f", returns=Json()) == 1
        child = process.pid
        assert Path(f"/proc/{child}").exists()
    assert not Path(f"/proc/{child}").exists()
