"""Fresh documents: what a promoted program is compared on with its incumbent, drawn for that comparison alone.

A problem that can draw documents cheaply, without a model, has a file of its name here with `draw(key)`; a problem
elsewhere has a method `fresh(key)`. Either returns a workload of stage `STAGE` with the one document that the key
stands for, as the main workload. Each document has a key of its own, from which all randomness of its examination
follows too, and is examined by itself: so what it shows is an independent draw, and a program that fails on it fails
on it alone.

A file here may also say how a document is examined at some operating points alone, without what a comparison has no
use for, `examine(subject, workload, labels)`, and what a document costs, `COST`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, cast

from vevolve.errors import BadProblem
from vevolve.evaluators.blame import blamed
from vevolve.evaluators.contract import Problem, Stage, Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.types import CandidateFault, Seed, Subject, Verdict

Draw: TypeAlias = Callable[[Seed], Workload]
Examine: TypeAlias = Callable[[Subject, Workload, Sequence[str]], Verdict]
"""The verdict at the operating points of these labels, at all where there are none. May raise `CandidateFault`."""

STAGE = Stage(name="fresh", split="sealed", promotion=True)
"""Of the workloads here. No model is ever shown a verdict of it."""
COST = 0.25
"""What a document costs both programs together, as a share of an evaluation, where a problem does not say."""


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
    module = _module(problem)
    draw: Draw | None = None if module is None else module.draw
    return draw


def cost(problem: Problem) -> float:
    """What a document costs both programs together, as a share of an evaluation: a fixed figure, no measurement."""
    return float(getattr(_module(problem), "COST", COST))


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
    """The verdict on one fresh document, at all operating points. Raises `BadProblem`."""
    return _examined(problem, subject, drawn(problem, fresh), ())


def meet(
    problem: Problem, challenger: Subject, incumbent: Subject, fresh: Fresh, claims: Sequence[str]
) -> tuple[Verdict, Verdict]:
    """The verdicts on one fresh document of a challenger, at the labels that it claims alone, and of its incumbent.

    The document is drawn once. No other point of the challenger enters its gain; all of the incumbent's do.

    Raises:
        BadProblem: the problem draws what cannot be examined or compared.
    """
    workload = drawn(problem, fresh)
    return _examined(problem, challenger, workload, claims), _examined(problem, incumbent, workload, ())


def _examined(problem: Problem, subject: Subject, workload: Workload, labels: Sequence[str]) -> Verdict:
    module = _module(problem)
    own: Examine | None = getattr(module, "examine", None)
    if own is None:
        verdict = examine_workload(problem, subject, workload)
    else:
        with blamed(problem.name, problem.folder):
            try:
                verdict = own(subject, workload, labels)
            except CandidateFault as fault:
                verdict = problem.invalid(fault.feedback, fault.status)
        standing = hashlib.sha256(f"{problem.hash}\0{workload.inputs}".encode()).hexdigest()
        verdict = verdict.model_copy(update={"stage": STAGE.name, "problem": standing})
    # Points elsewhere would count as no gain, for either program: an elite could never come of it, and nobody be told.
    found = sorted({(point.split, point.family) for point in verdict.points})
    if verdict.valid and found != [(STAGE.split, "")]:
        said = ", ".join(f"split {split}, family {family!r}" for split, family in found) or "no points"
        with blamed(problem.name, problem.folder):
            raise BadProblem(
                f"a fresh document's points must have split {STAGE.split}, family ''; the verdict has {said}"
            )
    return verdict


def _module(problem: Problem) -> ModuleType | None:
    """The file here of a shipped problem; None where there is none."""
    name = f"{__name__}.{problem.name}"
    ships = problem.name.isidentifier() and problem.folder == Path(__file__).resolve().parents[1] / problem.name
    return importlib.import_module(name) if ships and importlib.util.find_spec(name) is not None else None
