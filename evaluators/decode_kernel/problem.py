"""Decode kernels in Triton: text that is read as data, launched by the problem, and judged by what it moves.

What is measured here is traffic in a model of a GPU, not time: a GPU's latency is measured by
`benchmarks/decode_kernel.py`, and is no objective where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vevolve.evaluators.contract import Function, Problem, Stage, Workload
from vevolve.evaluators.decode_kernel import feedback, run
from vevolve.evaluators.decode_kernel.program import read
from vevolve.evaluators.decode_kernel.run import Run
from vevolve.evaluators.decode_kernel.workload import Case, cases
from vevolve.types import Candidate, CandidateFault, Objective, Point, Seed, Subject, Verdict

TOLERANCE = 1e-3
"""Relative error that is excused: float16 at the end alone makes about 3e-4, a float16 in between as much again."""
POINT = "all shapes"


class DecodeKernel(Problem):
    """Write Triton kernels for one step of sparse decode attention that move as few bytes as the step allows.

    The candidate is Triton source, read as data: `attend` and whatever else it launches. Every load and store is
    served and counted by the verifier, and the answer is compared with float64.
    """

    name = "decode_kernel"
    objectives = (
        Objective("traffic", "min", worst=32.0, best=1.0, scale="log10", unit="bytes moved ÷ bytes that must move"),
        Objective(
            "span",
            "min",
            worst=128.0,
            best=1.0,
            scale="log10",
            unit="bytes that 16 processors could have moved until the last program ended ÷ bytes that must move",
        ),
    )
    functions = (Function(name="attend", positional=True),)
    stages = (Stage(name="search"), Stage(name="select", split="select", promotion=True))
    arrays = "numpy"
    default_seed = "attend_shared"
    promotion_gain = 0.0005
    modules = frozenset({"triton"})

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        """Read the text, run it on every shape, compare and count."""
        program = read(subject.candidate)
        shapes: Sequence[Case] = workload.cases
        runs: list[Run] = []
        with run.hosted(subject).fresh() as process:
            run.prepare(process, program)
            for case in shapes:
                try:
                    runs.append(run.attend(process, program, case))
                    if not runs[-1].error <= TOLERANCE:
                        raise CandidateFault("wrong", feedback.wrong(runs[-1], TOLERANCE))
                except CandidateFault as fault:
                    if workload.stage.promotion:  # models read this, and know nothing of those shapes
                        raise CandidateFault(fault.status, feedback.ELSEWHERE) from fault
                    raise
        point = Point(
            label=POINT,
            split=workload.stage.split,
            traffic=_mean([one.traffic for one in runs]),
            span=_mean([one.span for one in runs]),
            error=max(one.error for one in runs),
        )
        told = "" if workload.stage.promotion else feedback.describe(runs, point)
        return self.verdict(point, feedback=told, report=feedback.report(runs))

    def workload(self, stage: Stage, seed: Seed) -> Workload:
        """The declared shapes of the stage's split, with contents drawn from the seed."""
        return Workload(stage, seed, cases(stage.split, seed))

    def screen(self, candidate: Candidate) -> None:
        """Refuse what is no kernel, from its tree alone. Raises `CandidateFault`."""
        read(candidate)


def _mean(ratios: Sequence[float]) -> float:
    """Geometric, so that no shape counts more than another."""
    return float(np.exp(np.mean(np.log(ratios))))


problem = DecodeKernel()
