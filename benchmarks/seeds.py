"""Error and traffic of every seed on a shipped split, at each token budget, with its index bits and its cost.

python benchmarks/seeds.py [--split select] [SEED ...]

"error @ traffic" per budget: the objectives, mean over (layer, KV head) of the 95th percentile, and dense bytes' share.
CPU seconds are those of the candidate's processes and of the judge for the whole evaluation, tiny stage left out.
"""

from __future__ import annotations

import argparse
import os

# Before numpy and torch load: one worker is one thread.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

from vevolve.evaluators.contract import Stage, load
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.programs import read_program
from vevolve.sandbox import Limits, Sandbox
from vevolve.types import Seed

BUDGETS = (32, 64, 128, 256, 512)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--split", choices=("search", "select"), default="search")
    parser.add_argument("seeds", nargs="*")
    given = parser.parse_args()
    problem = load("sparse_decode")
    workload = problem.workload(Stage(name="search", split=given.split), Seed(b"seeds benchmark"))
    print(f"{'':26}" + "".join(f"{f'{budget} tokens':>15}" for budget in BUDGETS) + f"{'bits':>8}{'CPU s':>8}")
    with Sandbox(arrays="torch", limits=Limits(total_s=600)) as sandbox:
        for name in given.seeds or sorted(problem.seeds()):
            verdict = examine_workload(problem, sandbox.subject(read_program(problem.seed(name))), workload)
            if not verdict.valid:
                raise SystemExit(f"{name}: {verdict.status}: {verdict.feedback}")
            points = {point.label: point for point in verdict.points}
            cells = [points[f"{budget} tokens"] for budget in BUDGETS]
            row = "".join(f"{point['error']:>8.3f} @{point['traffic']:5.3f}" for point in cells)
            print(f"{name:26}{row}{cells[0]['index_bits']:>8.0f}{verdict.cost.cpu_s:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
