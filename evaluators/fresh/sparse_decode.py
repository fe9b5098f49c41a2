"""Fresh synthetic documents for `sparse_decode`: the law of the families of its select stage, drawn anew.

Each is of either family, and decodes with or without an `append` before, with equal chances: independent draws of one
generator, of which a claim about "a fresh document" speaks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.fresh import STAGE, family_of
from vevolve.evaluators.sparse_decode import synthetic
from vevolve.evaluators.sparse_decode.workload import FAMILIES, FAMILY_FOLDED, FAMILY_STEPS, Case
from vevolve.types import Seed


def draw(key: Seed, first: int, count: int) -> Workload:
    """Documents `first` to `first + count - 1` of a key."""
    cases = tuple(
        case(key.derive("document", number), family_of(first, number)) for number in range(first, first + count)
    )
    return Workload(STAGE, key.derive("examine"), cases, inputs=" ".join(one.document.hash for one in cases))


def case(key: Seed, name: str) -> Case:
    """The document of a key, under a family of that name."""
    rng = np.random.default_rng(key.derive("kind").integer)
    family, folded = FAMILIES[int(rng.integers(len(FAMILIES)))], bool(rng.integers(2))
    queries = FAMILY_STEPS + FAMILY_FOLDED + 28
    (document,) = synthetic.family(
        family, key.derive("text"), documents=1, steps=FAMILY_STEPS, queries=queries, split=STAGE.split
    )
    if not folded:
        return Case(document, name)
    steps = FAMILY_STEPS + FAMILY_FOLDED
    return Case(replace(document, steps=steps), name, tuple(range(FAMILY_FOLDED, steps)))
