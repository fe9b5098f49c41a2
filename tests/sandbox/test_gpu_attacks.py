"""Hostile candidates with a GPU in their hands, timed and verified by this side. Each names what must come of it.

The task: `build` gets a matrix, which stays on the device; `score` gets a query, fresh for each call, and returns the
product. An honest program is timed in turn with the hostile one, and verified like it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from vevolve.kernels.timing import Timing, same_point, time_in_turn
from vevolve.kernels.timing_figures import Roofline
from vevolve.sandbox import Limits, Sandbox, profiles
from vevolve.types import Array, Candidate, CandidateFault, Json

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not profiles.gpus(), reason="needs an NVIDIA GPU: no /dev/nvidia0 here"),
]

ROWS, DIM = 1 << 16, 256
SLOW_S = 0.02
"""What the programs that lie about time really take."""

HONEST = """
import torch
held = {}
def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)
def score(query):
    return held["matrix"] @ query
"""
SLOW = "import time as _clock\nreal_sleep, real_now = _clock.sleep, _clock.perf_counter\n"

CHEATS: dict[str, tuple[str, str, str]] = {  # the goal; what must come of it; the program
    "patched_clocks": (
        "stop every clock of the process and of the device, so that slow work takes no time",
        "fair",
        SLOW
        + HONEST
        + """
import time
class Event:
    def __init__(self, *args, **named): pass
    def record(self, *args): pass
    def synchronize(self): pass
    def elapsed_time(self, other): return 1e-9
torch.cuda.Event, torch.cuda.synchronize = Event, lambda *args: None
for name in ("time", "perf_counter", "monotonic", "perf_counter_ns", "monotonic_ns"): setattr(time, name, lambda: 0)
def score(query):
    real_sleep(.02)
    return held["matrix"] @ query
""",
    ),
    "lazy": (
        "return at once and compute when the answer is looked at",
        "fair",
        SLOW
        + HONEST
        + """
class Lazy(torch.Tensor):
    def cpu(self):
        real_sleep(.02)
        return (held["matrix"] @ held["query"]).as_subclass(torch.Tensor).cpu()
def score(query):
    held["query"] = query
    return torch.empty(0, device="cuda").as_subclass(Lazy)
""",
    ),
    "not_written": (
        "write the output once and hand out the same buffer ever after",
        "wrong",
        HONEST
        + """
def score(query):
    if "out" not in held: held["out"] = held["matrix"] @ query
    return held["out"]
""",
    ),
    "never_written": (
        "hope that memory just allocated holds what an honest call left there",
        "wrong",
        HONEST + "\ndef score(query): return torch.empty(held['matrix'].shape[0], device='cuda')\n",
    ),
    "cached_by_pointer": (
        "answer from a cache keyed by the address and the shape of the input",
        "wrong",
        HONEST
        + """
def score(query):
    key = (query.data_ptr(), query.shape)
    if key not in held: held[key] = held["matrix"] @ query
    return held[key]
""",
    ),
    "side_stream": (
        "launch on a stream that nobody waits for, and answer before it is done",
        "wrong",
        HONEST
        + """
side = torch.cuda.Stream()
def score(query):
    out = torch.zeros(held["matrix"].shape[0], device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        torch.mv(held["matrix"], query, out=out)
    return out
""",
    ),
    "work_left_running": (
        "answer rightly and leave the device busy, so that whoever is timed next looks slow",
        "wrong",
        HONEST
        + """
side = torch.cuda.Stream()
def score(query):
    out = held["matrix"] @ query
    torch.cuda.synchronize()
    with torch.cuda.stream(side): torch.cuda._sleep(400_000_000)
    return out
""",
    ),
    "background_thread": (
        "keep a thread that feeds the device between calls",
        "wrong",
        HONEST
        + """
import threading
side = torch.cuda.Stream()
def feed():
    while True:
        with torch.cuda.stream(side): torch.cuda._sleep(40_000_000)
        side.synchronize()
def score(query):
    if "thread" not in held:
        held["thread"] = threading.Thread(target=feed, daemon=True)
        held["thread"].start()
    return held["matrix"] @ query
""",
    ),
    "out_of_range": (
        "write to device memory that was never given to it",
        "crash",
        HONEST
        + """
import ctypes
driver = ctypes.CDLL("libcuda.so.1")
def score(query):
    low = held["matrix"].data_ptr()
    for place in (1 << 40, low - (1 << 33), low + (1 << 34), 0x7f0000000000):
        driver.cuMemsetD8_v2(ctypes.c_uint64(place), 0, ctypes.c_size_t(1 << 24))
    far = torch.as_strided(held["matrix"], (1 << 20,), (1,), 0)
    index = torch.full((1024,), 1 << 45, device="cuda")
    torch.ops.aten._index_put_impl_(far, [index], torch.zeros(1024, device="cuda"), False, True)
    torch.cuda.synchronize()
    return held["matrix"] @ query
""",
    ),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(limits=Limits(memory_bytes=8 << 30, call_s=30), profile=profiles.gpu()) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def quiet() -> Callable[[], float]:
    from vevolve.kernels.timing_device import Quiet

    return Quiet()


MATRIX = np.random.default_rng(5).standard_normal((ROWS, DIM), dtype=np.float32)


def fresh(number: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng([7, number]).standard_normal(DIM).astype(np.float32)


def check(query: np.ndarray[Any, Any], answer: np.ndarray[Any, Any]) -> str:
    worst = np.abs(answer - MATRIX @ query)
    return "" if worst.max(initial=0.0) < 1e-2 and np.isfinite(answer).all() else f"off by {worst.max():.3g}"


def contest(sandbox: Sandbox, quiet: Callable[[], float], rounds: int = 12, **programs: str) -> dict[str, Timing]:
    opened = {name: sandbox.subject(Candidate(text)).fresh() for name, text in programs.items()}
    try:
        for process in opened.values():
            assert process.call("build", MATRIX, returns=Json()) == 1
        ask = {name: partial(_score, process) for name, process in opened.items()}
        return time_in_turn(
            ask, fresh, check, rounds=rounds, warm_up=2, quiet=quiet, end=lambda name: opened[name].close()
        )
    finally:
        for process in opened.values():
            process.close()


def _score(process: Any, query: np.ndarray[Any, Any]) -> Any:
    return process.call("score", query, returns=Array("f4", (ROWS,)))


@pytest.mark.parametrize("name", CHEATS)
def test_a_hostile_program_gains_nothing(name: str, sandbox: Sandbox, quiet: Callable[[], float]) -> None:
    _, expected, text = CHEATS[name]
    found = contest(sandbox, quiet, honest=HONEST, cheat=text)
    honest, cheat = found["honest"], found["cheat"]
    print(name, expected, cheat.faults, [f"{t.median.middle * 1e6:.0f} us" for t in (honest, cheat) if t.seconds])
    assert honest.counts and honest.median.middle < SLOW_S
    if expected == "fair":
        assert cheat.counts and cheat.median.low >= SLOW_S
    else:
        assert not cheat.counts
        wanted = {"crash": "CandidateFault", "wrong": ""}[expected]
        assert any(wanted in fault for fault in cheat.faults)
    if name in ("work_left_running", "background_thread"):
        assert any("left running" in fault for fault in cheat.faults)


def test_an_honest_program_is_timed_without_a_fault_and_its_floor_is_believed(
    sandbox: Sandbox, quiet: Callable[[], float]
) -> None:
    found = contest(sandbox, quiet, rounds=40, first=HONEST, second=HONEST)
    medians = [timing.median for timing in found.values()]
    print([(f"{m.low * 1e6:.0f}", f"{m.middle * 1e6:.0f}", f"{m.high * 1e6:.0f}") for m in medians])
    assert all(timing.counts for timing in found.values())
    assert Roofline(0, 4.8e12).floor_s(MATRIX.nbytes) < medians[0].low


BRANCHING = (
    HONEST
    + """
def score(query):
    out = held["matrix"] @ query
    if query.is_cuda: out[out.shape[0] // 2:] = 0
    return out
"""
)


def test_a_program_that_does_less_where_it_is_timed_is_at_another_operating_point(sandbox: Sandbox) -> None:
    def error(held: Sandbox, text: str) -> float:
        with held.subject(Candidate(text)).fresh() as process:
            process.call("build", MATRIX, returns=Json())
            pairs = [(MATRIX @ fresh(n), _score(process, fresh(n))) for n in range(4)]
        return float(np.mean([np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in pairs]))

    way: dict[str, Any] = {"error": "min"}
    with Sandbox() as on_cpu:
        for text, differs in ((HONEST, False), (BRANCHING, True)):
            metered, timed = error(on_cpu, text), error(sandbox, text)
            # What arithmetic in float32 explains on both sides.
            found = same_point({"error": metered + 1e-4}, {"error": timed}, way)
            assert bool(found) == differs, (metered, timed)


LEAVE = """
import torch
def f(gigabytes):
    held = torch.full((gigabytes << 27,), 0x5EC2E75EC2E75EC, dtype=torch.int64, device="cuda")
    return sum(int((part == 0x5EC2E75EC2E75EC).sum()) for part in held.split(1 << 29))
"""
SEARCH = """
import torch
def f(gigabytes):
    found, other = 0, 0
    for _ in range(gigabytes // 8):
        try: held = torch.empty(8 << 27, dtype=torch.int64, device="cuda")
        except torch.OutOfMemoryError: break
        keep.append(held)
        found += int((held == 0x5EC2E75EC2E75EC).sum()); other += int((held != 0).sum())
    return [found, other, len(keep) * 8]
keep = []
"""


def test_device_memory_that_another_process_left_holds_nothing_of_it(sandbox: Sandbox) -> None:
    import torch

    free = torch.cuda.mem_get_info()[0] >> 30
    share = max(8, (free * 3 // 4) // 8 * 8)
    assert sandbox.subject(Candidate(LEAVE)).call("f", share, returns=Json()) == share << 27
    found, other, searched = sandbox.subject(Candidate(SEARCH)).call("f", share, returns=Json())
    print(f"{searched} GiB searched, {found} words of another process, {other} words that are not zero")
    assert searched >= share // 2 and found == 0


def test_a_kernel_on_the_device_reads_nothing_of_another_process_at_its_address(sandbox: Sandbox) -> None:
    reading = (
        "import ctypes, torch\ntorch.ones(1, device='cuda')\ndriver = ctypes.CDLL('libcuda.so.1')\n"
        "def f(place):\n    out = (ctypes.c_uint8 * 64)()\n"
        "    return [driver.cuMemcpyDtoH_v2(out, ctypes.c_uint64(place), ctypes.c_size_t(64)), list(out)]"
    )
    telling = (
        "import torch\nheld = torch.full((1 << 28,), 0x55, dtype=torch.uint8, device='cuda')\n"
        "torch.cuda.synchronize()\ndef f(): return held.data_ptr() + (1 << 27)"
    )
    with sandbox.subject(Candidate(telling)).fresh() as bystander:
        place = bystander.call("f", returns=Json())
        error, read = sandbox.subject(Candidate(reading)).call("f", place, returns=Json())
    assert error != 0 or 0x55 not in read


def test_a_flood_of_device_memory_is_a_fault_of_resources(sandbox: Sandbox) -> None:
    text = "import torch\nheld = []\ndef f():\n    while True: held.append(torch.empty(1 << 30, device='cuda'))"
    with pytest.raises(CandidateFault) as caught:
        sandbox.subject(Candidate(text)).call("f", returns=Json())
    assert caught.value.status == "resource", caught.value
