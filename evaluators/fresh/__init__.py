"""Fresh documents: what a promoted program is compared on with its incumbent, drawn for that comparison alone.

A problem that can draw documents cheaply, without a model, has a file of its name here with `draw(key)`; a problem
elsewhere has a method `fresh(key)`. Either returns a workload of stage `STAGE` with the one document that the key
stands for, as the main workload. Each document has a key of its own, from which all randomness of its examination
follows too, and is examined by itself: so what it shows is an independent draw, and a program that fails on it fails
on it alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from vevolve.errors import BadProblem
from vevolve.evaluators.blame import blamed
from vevolve.evaluators.contract import Problem, Stage, Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.types import Seed, Subject, Verdict

Draw: TypeAlias = Callable[[Seed], Workload]

STAGE = Stage(name="fresh", split="sealed", promotion=True)
"""Of the workloads here. No model is ever shown a verdict of it."""


@dataclass(frozen=True)
class Fresh:
    """Which document is drawn.

    Attributes:
        key: what a sequence of documents follows from.
        number: of the document in that sequence.
    """

    key: Seed
    number: int

    @property
    def own(self) -> Seed:
        """What the document and its examination follow from, and no other."""
        return self.key.derive("document", self.number)


def generator(problem: Problem) -> Draw | None:
    """What draws fresh documents for a problem; None where nothing does."""
    if type(problem).fresh is not Problem.fresh:
        return problem.fresh
    module = f"{__name__}.{problem.name}"
    ships = problem.name.isidentifier() and problem.folder == Path(__file__).resolve().parents[1] / problem.name
    if not ships or importlib.util.find_spec(module) is None:
        return None
    draw: Draw = importlib.import_module(module).draw
    return draw


def drawn(problem: Problem, fresh: Fresh) -> Workload:
    """The document that a problem draws. Raises `BadProblem` where it draws none, or what is no such workload."""
    draw = generator(problem)
    with blamed(problem.name, problem.folder):
        if draw is None:
            raise BadProblem(f"{problem.name} draws no fresh documents")
        workload = cast(object, draw(fresh.own))  # whatever it says that it returns
        if not isinstance(workload, Workload) or workload.stage != STAGE:
            found = repr(workload.stage) if isinstance(workload, Workload) else f"{workload!r:.80}"
            raise BadProblem(f"`fresh` must return a Workload of vevolve.evaluators.fresh.STAGE; it returned {found}")
        if not workload.inputs:
            raise BadProblem("`fresh` must name its document in the workload's `inputs`, such as by its hash")
    return workload


def examine_fresh(problem: Problem, subject: Subject, fresh: Fresh) -> Verdict:
    """The verdict on one fresh document. Raises `BadProblem`."""
    verdict = examine_workload(problem, subject, drawn(problem, fresh))
    # Points elsewhere would count as no gain, for either program: an elite could never come of it, and nobody be told.
    found = sorted({(point.split, point.family) for point in verdict.points})
    if verdict.valid and found != [(STAGE.split, "")]:
        said = ", ".join(f"split {split}, family {family!r}" for split, family in found) or "no points"
        with blamed(problem.name, problem.folder):
            raise BadProblem(
                f"a fresh document's points must have split {STAGE.split}, family ''; the verdict has {said}"
            )
    return verdict
