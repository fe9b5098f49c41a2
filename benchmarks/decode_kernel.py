"""Candidates of `decode_kernel` on an NVIDIA GPU: their latency, which is no objective where there is none.

python benchmarks/decode_kernel.py [FILE ...] [--rounds 30] [--shape 8,8,4,32768,640] [--width 128]

THIS HAS NOT BEEN RUN on a GPU. It is made of parts that have been (the compiler's profile, the GPU's profile, the
protocol of timing), and tests compile every seed for compute capability 9.0.

Texts are read as data, as everywhere in the problem. The compiler's processes make machine code of them; a launcher of
ours for each, in a sandboxed process with the device, loads and times it with the device's events. Each call has a new
query, new ids and new probabilities; outputs and scratch are poisoned, L2 is flushed, inputs are compared before and
after, every timed answer is held against float64 here, and a time below what the bytes allow is suspect.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vevolve.errors import VEvolveError
from vevolve.evaluators.decode_kernel import device, run, workload
from vevolve.evaluators.decode_kernel.problem import TOLERANCE, problem
from vevolve.evaluators.decode_kernel.program import read
from vevolve.evaluators.decode_kernel.workload import Case
from vevolve.evaluators.programs import read_program
from vevolve.kernels.timing import Timing, time_in_turn
from vevolve.sandbox import Limits, Sandbox, profiles
from vevolve.sandbox.compiler import Compiler
from vevolve.types import Arrays, Candidate, CandidateFault, Frame, Json, Seed

LIMITS = Limits(memory_bytes=16 << 30, call_s=60, total_s=600, candidate_s=600)
LAG_S = 2e-3
"""The most by which the launcher's clock may exceed the device's."""


class Contestant:
    """A candidate, compiled and loaded in a process of its own with the device."""

    def __init__(self, sandbox: Sandbox, compiler: Compiler, candidate: Candidate, case: Case, capability: int) -> None:
        program = read(candidate)
        jobs = device.jobs(program, case.sizes, case.scale)
        self.process = sandbox.subject(device.LAUNCHER).fresh()
        codes: list[Any] = []
        told: list[dict[str, Any]] = []
        for job in jobs:
            machine = compiler.compile(
                program.text, job.kernel, job.signature, job.constants, job.aligned, capability, **job.options
            )
            if any(machine.scratch):
                raise CandidateFault("resource", f"`{job.kernel}` wants memory of the compiler's own")
            codes.append(np.frombuffer(machine.code, np.uint8))
            told.append(
                {
                    "name": machine.name,
                    "warps": machine.warps,
                    "shared": machine.shared,
                    "grid": list(job.grid),
                    "arguments": [list(one) for one in job.arguments],
                }
            )
        self.process.call("load", codes, told, returns=Json())
        elements = program.elements({**program.constants, **case.sizes}, device.MAX_SCRATCH)
        scratch = {name: [program.scratch[name][0], count] for name, count in elements.items()}
        self.process.call("keep", case.keys, case.values, scratch, list(case.query.shape), returns=Json())

    def __call__(self, case: Case) -> Frame:
        """One timed step."""
        returns = Arrays(max_count=3, max_bytes=64 << 20, max_dims=4)
        salt = secrets.randbelow(1 << 31)
        frame: Frame = self.process.call("step", case.query, case.ids, case.log_prob, salt, returns=returns)
        return frame


def by_its_events(call: Callable[[], Frame]) -> tuple[Frame, float]:
    """A `Timer` by the device's events in a launcher's process, which its clock must bear out."""
    frame = call()
    seconds, wall = (float(one) for one in frame["seconds"])
    if not 0 < seconds <= wall <= seconds + LAG_S:
        raise CandidateFault("wrong", f"the device's events say {seconds:.3g} s, the clock {wall:.3g} s")
    return frame, seconds


def check(case: Case, frame: Frame) -> str:
    """What is wrong with an answer, or ""."""
    if frame["out"].shape != case.query.shape or not frame["intact"].all():
        return "an input was written to, or the answer has another shape"
    worst = float(run.errors(frame["out"], case).max())
    return "" if worst <= TOLERANCE else f"relative error {worst:.2e}, at most {TOLERANCE:.0e}"


def measure(files: list[Path], shape: tuple[int, int, int, int, int], width: int, rounds: int) -> dict[str, Timing]:
    """Time candidates in turn on one shape. Raises `SandboxUnavailable` where no GPU can be used."""
    profile = profiles.gpu()
    import torch

    from vevolve.kernels import timing_device

    case = workload.draw(shape, Seed.fresh(), width)
    major, minor = torch.cuda.get_device_capability()
    with (
        timing_device.alone(timing_device.conditions()["uuid"]),
        Compiler() as compiler,
        Sandbox("torch", LIMITS, profile=profile) as sandbox,
    ):
        roofline = timing_device.roofline()
        contestants = {
            path.stem: Contestant(sandbox, compiler, read_program(path), case, 10 * major + minor) for path in files
        }
        return time_in_turn(
            contestants,
            lambda _: workload.again(case, Seed.fresh()),
            check,
            rounds=rounds,
            bytes_moved=lambda asked, _: float(asked.floor),
            roofline=roofline,
            timer=by_its_events,
            end=lambda name: contestants[name].process.close(),
            conditions=timing_device.conditions(),
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("files", nargs="*", type=Path, help="candidates; the seeds by default")
    arguments.add_argument("--rounds", type=int, default=30)
    arguments.add_argument("--shape", default="8,8,4,32768,640", help="B,H,G,n,m")
    arguments.add_argument("--width", type=int, default=128)
    given = arguments.parse_args()
    b, h, g, n, m = map(int, given.shape.split(","))
    files = given.files or sorted(problem.seeds().values())
    try:
        found = measure(files, (b, h, g, n, m), given.width, given.rounds)
    except (CandidateFault, VEvolveError) as error:
        print(error, file=sys.stderr)
        return 1
    print(next(iter(found.values())).conditions)
    for name, timing in found.items():
        if timing.seconds:
            middle = timing.median
            told = f"{middle.middle * 1e6:.2f} us [{middle.low * 1e6:.2f}, {middle.high * 1e6:.2f}]"
        else:
            told = "not timed"
        print(f"{name:<20} {told} {'; '.join(timing.faults)}{timing.suspect}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
