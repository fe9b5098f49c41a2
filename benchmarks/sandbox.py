"""What the sandbox costs: a process over the work in it, spawn to reaped; a call; a metered read.

python benchmarks/sandbox.py [torch|numpy]

Wall medians, and CPU time of both sides. Wall times hold only on a machine that does nothing else: above a load of
the number of cores, they count waiting for a core. The two costs that have a goal are compared with it: 35 ms a
process, 60 us + 2 us a KB a read.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import numpy as np

from vevolve.sandbox import Limits, Sandbox
from vevolve.types import Array, Candidate, Process, Seed, Service, Settings

PROGRAM = """
import time

def null():
    return 0

def work(x):
    for _ in range(40):
        x = (x @ x.T) / 512
    return float(x.sum())

def select(query, index, cache, budget, *, layer, params, rng):
    return query

def read(cache, ids, count):
    for _ in range(count):
        cache.keys(ids)
    return 0

def spent():
    return time.process_time()
"""

DIM = 64
SCALAR = Array("f8", ())
PROCESS_MS, READ_MS, KB_MS = 35.0, 0.060, 0.002


def main(arrays: Literal["torch", "numpy"]) -> None:
    with Sandbox(arrays=arrays, limits=Limits(call_s=60)) as sandbox:
        print(f"level {sandbox.containment.level}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{'':38}{'wall ms':>10}{'CPU ms':>10}{'goal':>10}  by wall / CPU")
        spawns(sandbox)
        with sandbox.subject(Candidate(PROGRAM)).fresh() as process:
            calls(process)


def show(name: str, wall_s: float, cpu_s: float, goal_ms: float | None = None) -> None:
    goal = ""
    if goal_ms is not None:
        met = ["met" if spent_s * 1e3 <= goal_ms else "MISSED" for spent_s in (wall_s, cpu_s)]
        goal = f"{goal_ms:10.3f}  {' / '.join(met)}"
    print(f"{name:38}{wall_s * 1e3:10.3f}{cpu_s * 1e3:10.3f}{goal}")


def spawns(sandbox: Sandbox, count: int = 40) -> None:
    """Processes that are started, do some work, are ended and reaped; and the same work in one that is open."""
    subject = sandbox.subject(Candidate(PROGRAM))
    x = np.random.default_rng(0).normal(size=(256, 256)).astype("f4")
    subject.call("work", x, returns=SCALAR)

    def cpu() -> float:
        return time.process_time() + zygote_s(sandbox) + subject.cpu_s

    total, inside = [], []
    with subject.fresh() as process:
        process.call("work", x, returns=SCALAR)
        before, held = cpu(), float(process.call("spent", returns=SCALAR))
        for _ in range(count):  # in turn, so that other jobs on the machine disturb both alike
            start = time.perf_counter()
            subject.call("work", x, returns=SCALAR)
            total.append(time.perf_counter() - start)
            start = time.perf_counter()
            process.call("work", x, returns=SCALAR)
            inside.append(time.perf_counter() - start)
        worked = (float(process.call("spent", returns=SCALAR)) - held) / count
        spent = (cpu() - before) / count
    wall, work = statistics.median(total), statistics.median(inside)
    show("a process with work in it", wall, spent)
    show("the same work in an open process", work, worked)
    show("a process over the work in it", wall - work, spent - worked, PROCESS_MS)


def calls(process: Process) -> None:
    """Questions to a process that is open, and what it reads on the way."""
    table, query = np.zeros((1 << 20, DIM), "f4"), np.zeros((3, 3, DIM), "f4")
    service = Service({"n": 4096}, keys=lambda ids: table[: ids.size].reshape(*ids.shape, DIM))

    def row(name: str, act: Callable[[], int], count: int, goal_ms: float | None = None) -> None:
        walls, per = [], 1
        before = time.process_time() + float(process.call("spent", returns=SCALAR))
        for _ in range(count):
            start = time.perf_counter()
            per = act()
            walls.append((time.perf_counter() - start) / per)
        after = time.process_time() + float(process.call("spent", returns=SCALAR))
        show(name, statistics.median(walls), (after - before) / count / per, goal_ms)

    def null() -> int:
        process.call("null", returns=SCALAR)
        return 1

    def select() -> int:
        process.call(
            "select",
            query,
            serve={"cache": service, "index": service},
            budget=Settings({"tokens": 64, "epsilon": None}),
            layer=3,
            params=None,
            rng=Seed(bytes(16)),
            returns=Array("f4", query.shape),
        )
        return 1

    row("null call", null, 2000)
    row("select without reads", select, 2000)
    for rows in (1, 4, 64, 1024, 4096):
        ids = np.arange(rows, dtype="i8").reshape(1, rows)
        size = rows * DIM * 4 / 1024

        def read(ids: np.ndarray = ids) -> int:
            process.call("read", serve={"cache": service}, ids=ids, count=50, returns=SCALAR)
            return 50

        row(f"metered read of {size:g} KB", read, 40, READ_MS + KB_MS * size)


def zygote_s(sandbox: Sandbox) -> float:
    """CPU seconds of the warm process itself, in which the fork is paid."""
    words = Path(f"/proc/{sandbox._warm.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(cast(Literal["torch", "numpy"], sys.argv[1] if len(sys.argv) > 1 else "torch"))
