"""What the sandbox costs: spawn to reaped, a null call, a metered read. Wall medians, and CPU time of both sides.

python benchmarks/sandbox.py [torch|numpy]
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Literal, cast

import numpy as np

from vevolve.sandbox import Limits, Sandbox
from vevolve.types import Array, Candidate, Seed, Service, Settings

PROGRAM = """
import time

def null():
    return 0

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


def main(arrays: Literal["torch", "numpy"]) -> None:
    print(f"{'':34}{'wall ms':>10}{'CPU ms':>10}")
    with Sandbox(arrays=arrays, limits=Limits(call_s=60)) as sandbox:
        spawns(sandbox)
        subject = sandbox.subject(Candidate(PROGRAM))
        with subject.fresh() as process:
            scalar = Array("f8", ())
            service = Service({"n": 4096}, keys=lambda ids: table[: ids.size].reshape(*ids.shape, DIM))
            table = np.zeros((1 << 20, DIM), "f4")

            def spent() -> float:
                return time.process_time() + float(process.call("spent", returns=scalar))

            def row(name: str, act, count: int) -> None:  # type: ignore[no-untyped-def]
                walls, before = [], spent()
                for _ in range(count):
                    start = time.perf_counter()
                    per = act()
                    walls.append((time.perf_counter() - start) / per)
                cpu = (spent() - before) / count / per
                print(f"{name:34}{statistics.median(walls) * 1e3:10.3f}{cpu * 1e3:10.3f}")

            def null() -> int:
                process.call("null", returns=scalar)
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

            query = np.zeros((3, 3, DIM), "f4")
            row("null call", null, 2000)
            row("select without reads", select, 2000)
            for rows in (1, 4, 64, 1024, 4096):
                ids = np.arange(rows, dtype="i8").reshape(1, rows)
                size = rows * DIM * 4 / 1024

                def read(ids: np.ndarray = ids) -> int:
                    process.call("read", serve={"cache": service}, ids=ids, count=50, returns=scalar)
                    return 50

                row(f"metered read of {size:g} KB", read, 20)


def spawns(sandbox: Sandbox, count: int = 40) -> None:
    """A process that is started, asked nothing of note, ended and reaped."""
    subject = sandbox.subject(Candidate(PROGRAM))
    walls, before = [], time.process_time() + zygote_s(sandbox)
    for _ in range(count):
        start = time.perf_counter()
        subject.call("null", returns=Array("f8", ()))
        walls.append(time.perf_counter() - start)
    cpu = (time.process_time() + zygote_s(sandbox) - before + subject.cpu_s) / count
    print(f"{'spawn, null call, reaped':34}{statistics.median(walls) * 1e3:10.3f}{cpu * 1e3:10.3f}")


def zygote_s(sandbox: Sandbox) -> float:
    """CPU seconds of the warm process itself, in which the fork is paid."""
    words = Path(f"/proc/{sandbox._warm.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(cast(Literal["torch", "numpy"], sys.argv[1] if len(sys.argv) > 1 else "torch"))
