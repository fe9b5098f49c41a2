"""A problem whose examination reads two numbers off the program: for tests of the loop, no candidate is ever run."""

from __future__ import annotations

import random

from vevolve.evaluators.contract import Function, Problem, Workload
from vevolve.evaluators.fresh import STAGE
from vevolve.types import CandidateFault, Objective, Point, Seed, Subject, Verdict

HIDDEN = "0.73519"
"""A figure that only `select` verdicts hold, so that it can be searched for."""


NOISE = 0.05
"""How far a fresh document moves each number of each program, as a share of it."""


class Plane(Problem):
    """Choose X and Y, both as small as possible, though their product may not fall below .1."""

    name = "plane"
    objectives = (
        Objective("left", "min", worst=1.0, best=0.001, unit="m", scale="log10"),
        Objective("right", "min", worst=1.0, best=0.001, unit="m", scale="log10"),
    )
    functions = (Function(name="answer"),)
    default_seed = "start"

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        constants = subject.candidate.constants
        x, y = constants.get("X"), constants.get("Y")
        if not isinstance(x, float) or not isinstance(y, float):
            raise CandidateFault("crash", "X and Y must be numbers")
        if x * y < 0.1:
            return self.invalid(f"X * Y is {x * y:.4g}, below .1")
        if workload.stage.split == "search":
            return self.verdict(Point(label="only", left=x, right=y), feedback=f"left {x:.4g}, right {y:.4g}")
        if workload.stage.name == "fresh":
            return self.verdict(self._noisy(workload.seed, subject, x, y))
        hidden = float(HIDDEN)
        return self.verdict(
            Point(label="only", split="select", left=x, right=y, hidden=hidden),
            Point(label="only", split="select", family="other", left=y, right=x),
            feedback=f"hidden {HIDDEN}",
        )

    def fresh(self, key: Seed) -> Workload:
        """A document that favours each program by chance."""
        return Workload(STAGE, key, inputs=key.key.hex())

    def _noisy(self, seed: Seed, subject: Subject, x: float, y: float) -> Point:
        chance = random.Random(seed.derive(subject.candidate.id).integer)
        left, right = (value * chance.uniform(1 - NOISE, 1 + NOISE) for value in (x, y))
        return Point(label="only", split="sealed", left=left, right=right, hidden=float(HIDDEN))


problem = Plane()
