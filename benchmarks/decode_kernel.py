"""Candidates of `decode_kernel` on an NVIDIA GPU: their latency, side by side.

python benchmarks/decode_kernel.py [FILE ...] [--rounds 30] [--shape 8,8,4,32768,640] [--width 128]

The protocol is that of `vevolve eval` (`vevolve.evaluators.latency.decode_kernel`), here on any shape and for any
number of programs in turn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vevolve.errors import VEvolveError
from vevolve.evaluators.decode_kernel import workload
from vevolve.evaluators.decode_kernel.problem import problem
from vevolve.evaluators.latency import decode_kernel
from vevolve.evaluators.latency.decode_kernel import Contest
from vevolve.evaluators.programs import read_program
from vevolve.evolve import stopwatch
from vevolve.types import CandidateFault, Seed


def measure(files: list[Path], shape: tuple[int, int, int, int, int], width: int, rounds: int) -> Contest:
    """Time candidates in turn on one shape. Raises `SandboxUnavailable` without a GPU."""
    key = Seed.fresh()
    case = workload.draw(shape, key.derive("case"), width)
    programs = {path.stem: read_program(path) for path in files}
    return decode_kernel.measure(stopwatch.gpu(), case, programs, rounds, key)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("files", nargs="*", type=Path, help="candidates; the seeds by default")
    arguments.add_argument("--rounds", type=int, default=30)
    arguments.add_argument("--shape", default="8,8,4,32768,640", help="B,H,G,n,m")
    arguments.add_argument("--width", type=int, default=128)
    given = arguments.parse_args()
    b, h, g, n, m = map(int, given.shape.split(","))
    files = given.files or sorted(problem.seeds().values())
    if why := stopwatch.absent():  # not a failure: `make bench` goes on
        print(f"benchmarks/decode_kernel.py measured nothing: {why}.")
        return 0
    try:
        found = measure(files, (b, h, g, n, m), given.width, given.rounds)
    except (CandidateFault, VEvolveError) as error:
        print(error, file=sys.stderr)
        return 1
    print(found.conditions)
    for name, timing in found.timings.items():
        if timing.seconds:
            middle = timing.median
            told = f"{middle.middle * 1e6:.2f} us [{middle.low * 1e6:.2f}, {middle.high * 1e6:.2f}]"
        else:
            told = "not timed"
        print(f"{name:<20} {told} {'; '.join(timing.faults)}{timing.suspect}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
