"""What one search-stage evaluation of each seed costs, through the real sandbox: wall and CPU seconds, both sides.

python benchmarks/evaluation.py [PROBLEM/SEED ...]

The least of three runs each. Dense attention, which a process computes once for all candidates, is not counted.
"""

from __future__ import annotations

import os

# Before numpy and torch load: one worker is one thread.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import sys
import time

from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.programs import read_program
from vevolve.sandbox import Sandbox
from vevolve.types import Candidate, Seed

ROUNDS = 3
PROBLEMS = ("sparse_decode", "kv_eviction", "kv_quantization")
SEED = Seed(b"evaluation benchmark")


def main(names: list[str]) -> None:
    # A verifier and its candidate take turns, and share a core as they do in a run.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    names = names or [f"{problem}/{seed}" for problem in PROBLEMS for seed in sorted(load(problem).seeds())]
    print(
        f"{'':42}{'tiny wall':>11}{'search wall':>13}{'trusted CPU':>13}{'candidate CPU':>15}{'processes':>11}{'KB':>8}"
    )
    with Sandbox(arrays="torch") as sandbox:
        for name in names:
            problem, _, seed = name.partition("/")
            measure(name, load(problem), sandbox, read_program(load(problem).seed(seed)))


def measure(name: str, problem: Problem, sandbox: Sandbox, candidate: Candidate) -> None:
    tiny, search = (problem.workload(problem.stage(stage), SEED) for stage in ("tiny", "search"))
    small = min(examine_workload(problem, sandbox.subject(candidate), tiny).cost.wall_s for _ in range(ROUNDS))
    rows = []
    for _ in range(ROUNDS):
        subject = sandbox.subject(candidate)
        trusted = time.process_time()
        verdict = examine_workload(problem, subject, search)
        trusted = time.process_time() - trusted
        if not verdict.valid:
            raise SystemExit(f"{name}: {verdict.status}: {verdict.feedback}")
        rows.append((verdict.cost.wall_s, trusted, subject.cpu_s, subject.processes))
    wall, trusted, untrusted, processes = min(rows)
    size = len(verdict.model_dump_json()) / 1024
    print(f"{name:42}{small:11.3f}{wall:13.2f}{trusted:13.2f}{untrusted:15.2f}{processes:11}{size:8.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
