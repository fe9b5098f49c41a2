"""Fresh synthetic documents for `sparse_decode`: the law of the families of its select stage, drawn anew.

Each is of either family, and decodes with or without an `append` before, with equal chances: independent draws of one
generator, of which a claim about "a fresh document" speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.fresh import STAGE
from vevolve.evaluators.sparse_decode import scores, session, synthetic
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.sparse_decode.workload import (
    FAMILIES,
    FAMILY_FOLDED,
    FAMILY_STEPS,
    Case,
    operating_points,
)
from vevolve.types import Seed, Subject, Verdict

COST = 0.25


def draw(key: Seed) -> Workload:
    """The document of a key, and the randomness of its examination."""
    found = case(key)
    return Workload(STAGE, key.derive("examine"), (found,), inputs=found.document.hash)


def case(key: Seed) -> Case:
    """The document of a key, as the main workload."""
    rng = np.random.default_rng(key.derive("kind").integer)
    family, folded = FAMILIES[int(rng.integers(len(FAMILIES)))], bool(rng.integers(2))
    queries = FAMILY_STEPS + FAMILY_FOLDED + 28
    (document,) = synthetic.family(
        family, key.derive("text"), documents=1, steps=FAMILY_STEPS, queries=queries, split=STAGE.split
    )
    if not folded:
        return Case(document)
    steps = FAMILY_STEPS + FAMILY_FOLDED
    return Case(replace(document, steps=steps), asked=tuple(range(FAMILY_FOLDED, steps)))


def examine(subject: Subject, workload: Workload, labels: Sequence[str]) -> Verdict:
    """Ask as on any other document, at the operating points of these labels (all where there are none)."""
    points = [point for point in operating_points(subject.candidate) if not labels or point.label in labels]
    cases: Sequence[Case] = workload.cases
    answered = session.run(subject, cases, points, workload.seed)
    return problem.verdict(*scores.points(scores.blocks(answered, cases), answered, cases, STAGE.split))
