"""Small random documents, and the examination of a program's text on them."""

import textwrap

import numpy as np
import pytest

from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.sparse_decode.traces import Document, Layer
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, Seed


@pytest.fixture(scope="session")
def make_document():
    """A random document: one distant key and its value matter, the rest is broad."""

    def make(seed=0, *, heads=2, group=2, dim=16, tokens=700, steps=2, recorded=None, kind="prose", layers=(0,)):
        draw = np.random.default_rng(seed)
        drawn = {
            layer: Layer(
                queries=draw.standard_normal((heads, group, recorded or steps, dim), dtype=np.float32),
                keys=draw.standard_normal((heads, tokens, dim), dtype=np.float32),
                values=draw.standard_normal((heads, tokens, dim), dtype=np.float32) + 0.3,
            )
            for layer in layers
        }
        return Document(f"{kind}-{seed}", "random", "random", "search", kind, steps, drawn)

    return make


@pytest.fixture(scope="session")
def examine():
    """Examine a program's text on documents, in this process."""

    def on(source, *documents, stage="search", seed=b"examination seed", params=None, subject=None):
        candidate = Candidate(textwrap.dedent(source), params)
        cases = tuple(one if isinstance(one, Case) else Case(one) for one in documents)
        workload = problem.workload(problem.stage("tiny"), Seed(seed))
        workload = type(workload)(problem.stage(stage), Seed(seed), cases)
        return examine_workload(problem, subject or PlainSubject(candidate, "torch"), workload)

    return on
