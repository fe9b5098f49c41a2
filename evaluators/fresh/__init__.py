"""Fresh documents: what a promoted program is compared on with its incumbent, drawn for that comparison alone.

A problem that can draw documents cheaply, without a model, has a file of its name here with `draw(key, first, count)`;
a problem elsewhere has a method `fresh(key, first, count)`. Either returns a workload of `count` documents, numbers
`first` and on of the sequence that a key stands for, each under a family of its own (`family_of`), so that a verdict
holds the points of each document apart. Documents are independent draws from one declared generator.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vevolve.errors import BadProblem
from vevolve.evaluators.blame import blamed
from vevolve.evaluators.contract import Problem, Stage, Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.types import Seed, Subject, Verdict

Draw: TypeAlias = Callable[[Seed, int, int], Workload]

STAGE = Stage(name="fresh", split="sealed", promotion=True)
"""Of the workloads here. No model is ever shown a verdict of it."""


@dataclass(frozen=True)
class Fresh:
    """Which documents are drawn.

    Attributes:
        key: what they follow from.
        numbers: of the documents in the sequence that the key stands for.
    """

    key: Seed
    numbers: range


def family_of(first: int, number: int) -> str:
    """The family that stands for document `number` of a workload that begins with document `first`.

    The first one stands under the main workload's, since a verdict has figures that are of that one alone.
    """
    return "" if number == first else f"fresh-{number}"


def generator(problem: Problem) -> Draw | None:
    """What draws fresh documents for a problem; None where nothing does."""
    own: Draw | None = getattr(problem, "fresh", None)
    if own is not None:
        return own
    module = f"{__name__}.{problem.name}"
    ships = problem.name.isidentifier() and problem.folder == Path(__file__).resolve().parents[1] / problem.name
    if not ships or importlib.util.find_spec(module) is None:
        return None
    draw: Draw = importlib.import_module(module).draw
    return draw


def examine_fresh(problem: Problem, subject: Subject, fresh: Fresh) -> Verdict:
    """The verdict on fresh documents, each of which has points of its own. Raises `BadProblem`."""
    draw = generator(problem)
    with blamed(problem.name, problem.folder):
        if draw is None:
            raise BadProblem(f"{problem.name} draws no fresh documents")
        workload = draw(fresh.key, fresh.numbers.start, len(fresh.numbers))
    return examine_workload(problem, subject, workload)
