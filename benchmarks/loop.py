"""What the loop itself costs: CPU per iteration, and whether the driver's memory grows.

    python benchmarks/loop.py [ITERATIONS]

The problem and the proposer do next to nothing, and what they do is taken off. What is left is the loop, in all its
threads: choosing parents, the prompt, applying the reply, the hash that finds duplicates, the archive with its flush to
disk, and the ranks. Targets: at most 5 ms CPU per iteration; memory that grows only by what is known of a candidate,
never by its program, prompt or verdict. CPU time swells on a busy machine: run it on an idle one.
"""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import vevolve
from vevolve.archive import Archive
from vevolve.archive.events import Event, Selected, Started, Told
from vevolve.evaluators.contract import Function, Problem, Workload
from vevolve.evolve.config import Config
from vevolve.evolve.loop import Loop
from vevolve.evolve.proposers.contract import Prompt, Reply, Request
from vevolve.evolve.questions import Questions
from vevolve.evolve.setup import Task, Weighted
from vevolve.evolve.workers import Inline, Workers
from vevolve.types import Candidate, Containment, Objective, Point, Seed, Subject, Verdict

BLOCK = 500
SOURCE = '"""A program of a usual length."""\n\n' + "\n\n".join(
    f"def part_{n}(x, y):\n    total = x * {n} + y\n    for i in range(8):\n        total += i * x\n    return total"
    for n in range(12)
)


work = {"s": 0.0}
"""CPU seconds in the problem and the proposer."""


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Count this thread's CPU time as work, not as loop."""
    began = time.thread_time()
    try:
        yield
    finally:
        work["s"] += time.thread_time() - began


class Null(Problem):
    """Two numbers, both small."""

    name = "null"
    objectives = (
        Objective("left", "min", worst=2.0, best=0.001, scale="log10"),
        Objective("right", "min", worst=2.0, best=0.001, scale="log10"),
    )
    functions = (Function(name="part_0", arguments=("x", "y")),)

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        """Five points off the program's own constants."""
        with working():
            x, y = (float(subject.candidate.constants[name]) for name in ("X", "Y"))
            split = workload.stage.split
            points = [Point(label=str(n), split=split, left=x * 2**-n, right=y * 2 ** (n - 4)) for n in range(5)]
            return self.verdict(*points, feedback="left and right")


class Drift:
    """A proposer that is done at once: the parent's numbers, a little better or worse."""

    def __init__(self, free: bool) -> None:
        self.name, self.free = "drift", free

    def propose(self, request: Request) -> Reply:
        """The whole program again, with other numbers."""
        with working():
            chance = random.Random(request.seed.integer)
            constants = request.parents[0].constants
            x, y = (max(0.01, constants[name] * chance.uniform(0.95, 1.15)) for name in ("X", "Y"))
            return Reply(text=f"Idea: drift\n\n```python\n{program(x, y)}```\n", model=self.name)

    def estimate(self, prompt: Prompt) -> float | None:
        """Nothing."""
        return 0.0

    def close(self) -> None:
        """Nothing is open."""


class Nothing:
    """A container without a process."""

    containment = Containment(level="L1")

    def subject(self, candidate: Candidate) -> Any:
        """What the null problem reads."""
        return SimpleNamespace(candidate=candidate, cpu_s=0.0, processes=0, containment=self.containment)

    def close(self) -> None:
        """Nothing is open."""


def program(x: float, y: float) -> str:
    """The program with two numbers."""
    return f"X = {x!r}\nY = {y!r}\n\n\n{SOURCE}\n"


def main(iterations: int) -> None:
    """Both kinds of proposer, a block of iterations at a time."""
    print(
        f"{'proposer':<10}{'iterations':>12}{'selections':>12}{'CPU ms each':>13}{'wall ms each':>14}{'memory MiB':>12}"
    )
    for free in (False, True):
        for done, selections, cpu, wall, memory in measured(free, iterations):
            name = "free" if free else "hosted"
            print(f"{name:<10}{done:>12}{selections:>12}{cpu:>13.2f}{wall:>14.2f}{memory:>12.1f}")


def measured(free: bool, iterations: int) -> list[tuple[int, int, float, float, float]]:
    """Rows of (iterations so far; of this block: selections, CPU ms and wall ms an iteration; resident MiB)."""
    problem, config = Null(), Config(evaluations=iterations)
    seed = Candidate(program(1.0, 1.0))
    task = Task(problem, "null", seed, "null", ())
    rows: list[tuple[int, int, float, float, float]] = []
    workers = Workers([Inline(problem, Nothing)])
    with tempfile.TemporaryDirectory() as folder, Archive.create(Path(folder), started(problem, config)) as archive:
        questions = Questions(task, [Weighted(Drift(free), 1.0)], "diff")
        loop = Loop(archive, Seed.fresh(), seed, questions, workers, config)
        work["s"] = 0.0
        gained = 0
        cpu, wall = time.process_time(), time.perf_counter()
        for event in loop.events():
            gained += isinstance(event, Selected)
            if told_block(event):
                gc.collect()
                spent = (time.process_time() - cpu - work["s"], time.perf_counter() - wall)
                rows.append((event.iteration, gained, *(1e3 * each / BLOCK for each in spent), resident()))
                gained, work["s"] = 0, 0.0
                cpu, wall = time.process_time(), time.perf_counter()
    workers.close()
    return rows


def told_block(event: Event) -> bool:
    """Whether a block of iterations is complete."""
    return isinstance(event, Told) and event.iteration > 0 and event.iteration % BLOCK == 0


def started(problem: Problem, config: Config) -> Started:
    """The first event of a run."""
    return Started(
        run="benchmark",
        version=vevolve.__version__,
        problem=problem.name,
        problem_hash=problem.hash,
        objectives=problem.objectives,
        seed="null",
        seed_commitment="",
        config=config.model_dump(mode="json"),
        containment=Nothing.containment,
    )


def resident() -> float:
    """Resident memory of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("the kernel tells no VmRSS")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
