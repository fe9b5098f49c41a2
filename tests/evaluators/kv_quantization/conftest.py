"""Small random documents, and the examination of a program's text on them."""

import textwrap

import numpy as np
import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.kv_quantization.problem import problem
from vevolve.evaluators.sparse_decode.traces import Document, Layer
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, Seed


@pytest.fixture(scope="session")
def make_document():
    """A random document with a sink and a large channel, exact in float16."""

    def make(seed=0, *, heads=2, group=2, dim=64, tokens=402, steps=2, kind="prose", layers=(0,), base=1e4):
        draw = np.random.default_rng(seed)

        def layer():
            keys = draw.standard_normal((heads, tokens, dim), dtype=np.float32)
            keys[..., 3] += 5
            keys[:, 0] *= 2
            tensors = (
                1.5 * draw.standard_normal((heads, group, steps, dim), dtype=np.float32),
                keys,
                draw.standard_normal((heads, tokens, dim), dtype=np.float32) + 0.3,
            )
            return Layer(*(tensor.astype(np.float16).astype(np.float32) for tensor in tensors))

        return Document(
            f"{kind}-{seed}", "random", "random", "search", kind, steps, {index: layer() for index in layers}, base
        )

    return make


@pytest.fixture(scope="session")
def examine():
    """Examine a program's text on documents, in this process or as the subject given."""

    def on(source, *documents, stage="search", seed=b"examination seed", params=None, subject=None):
        candidate = Candidate(textwrap.dedent(source), params)
        cases = tuple(one if isinstance(one, Case) else Case(one) for one in documents)
        workload = Workload(problem.stage(stage), Seed(seed), cases)
        return examine_workload(problem, subject or PlainSubject(candidate, "torch"), workload)

    return on
