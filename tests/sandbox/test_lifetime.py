"""What is left behind (nothing), and what happens when the warm process dies."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vevolve.errors import VEvolveError
from vevolve.sandbox import Sandbox
from vevolve.types import Candidate, CandidateFault, Json

HONEST = Candidate("def f(x): return x + 1")
HOSTILE = [
    Candidate("import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\ndef f(x): return x"),
    Candidate("def f(x): raise ValueError"),
    Candidate("import os\ndef f(x): os.write(3, bytes(999))"),
    Candidate("import os\nos._exit(3)"),
]


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def zygote(sandbox: Sandbox) -> int:
    return sandbox._warm.process.pid


def descriptors(pid: int | str) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_fifty_processes_leave_no_process_and_no_descriptor(sandbox: Sandbox) -> None:
    sandbox.subject(HONEST).call("f", 1, returns=Json())
    gc.collect()
    before = descriptors("self"), descriptors(zygote(sandbox))
    for turn in range(50):
        candidate = HOSTILE[turn // 2 % 4] if turn % 2 else HONEST
        try:
            assert sandbox.subject(candidate).call("f", turn, returns=Json()) in (turn, turn + 1)
        except CandidateFault:
            assert candidate is not HONEST
    assert (descriptors("self"), descriptors(zygote(sandbox)), children(zygote(sandbox))) == (*before, [])


def test_closing_ends_processes_that_are_still_open() -> None:
    sandbox = Sandbox(arrays="numpy")
    process = sandbox.subject(HONEST).fresh()
    pids = [zygote(sandbox), process.pid]
    sandbox.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(CandidateFault):
        process.call("f", 1, returns=Json())


def test_a_dead_zygote_is_replaced() -> None:
    with Sandbox(arrays="numpy") as sandbox:
        first = zygote(sandbox)
        os.kill(first, signal.SIGKILL)
        assert sandbox.subject(HONEST).call("f", 1, returns=Json()) == 2
        assert zygote(sandbox) != first


def test_a_zygote_that_dies_during_a_call_is_no_fault_of_the_candidate() -> None:
    with Sandbox(arrays="numpy") as sandbox:
        process = sandbox.subject(Candidate("import time\ndef f(): time.sleep(60)")).fresh()
        threading.Timer(0.1, os.kill, (zygote(sandbox), signal.SIGKILL)).start()
        with pytest.raises(VEvolveError, match="warm process ended"):
            process.call("f", returns=Json())
        assert " Z " in _stat(str(process.pid))
        assert sandbox.subject(HONEST).call("f", 1, returns=Json()) == 2


def test_everything_ends_when_the_trusted_side_is_killed(tmp_path: Path) -> None:
    text = """
import sys, time
from vevolve.sandbox import Sandbox
from vevolve.types import Candidate
sandbox = Sandbox(arrays="numpy")
process = sandbox.subject(Candidate("def f(): pass")).fresh()
print(sandbox._warm.process.pid, process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as trusted:
        assert trusted.stdout is not None
        pids = trusted.stdout.readline().split()
        trusted.kill()
    for _ in range(1200):
        left = [pid for pid in pids if Path(f"/proc/{pid}").exists() and " Z " not in _stat(pid)]
        if not left:
            break
        time.sleep(0.05)
    assert len(pids) == 2 and not left


def _stat(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return " Z "


def test_it_works_from_a_process_with_many_threads() -> None:
    def one(number: int) -> int:
        with Sandbox(arrays="numpy") as sandbox:
            return sandbox.subject(HONEST).call("f", number, returns=Json())

    stop = threading.Event()
    idle = [threading.Thread(target=stop.wait) for _ in range(20)]
    for thread in idle:
        thread.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert list(pool.map(one, range(4))) == [1, 2, 3, 4]
    finally:
        stop.set()
