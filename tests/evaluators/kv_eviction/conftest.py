"""Small random contexts, and the examination of a program's text on them."""

import textwrap

import numpy as np
import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import examine_workload
from vevolve.evaluators.kv_eviction import contexts
from vevolve.evaluators.kv_eviction.problem import problem
from vevolve.evaluators.sparse_decode.traces import Document, Layer
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, Seed


@pytest.fixture(scope="session")
def make_context():
    """A random context; its coming queries look for token 40, and for the newest ones. Numbers that float16 holds."""

    def make(
        seed=0, *, heads=2, group=2, dim=16, n=128, steps=5, layers=(0,), kind="prose", needle=None, notes=None,
        evidence=True, rope_base=1e4, split="search",
    ):  # fmt: skip
        draw = np.random.default_rng(seed)

        def numbers(*shape, plus=0.0):
            return (draw.standard_normal(shape) + plus).astype(np.float16).astype(np.float32)

        drawn, extra = {}, {}
        for layer in layers:
            keys, queries = numbers(heads, n + steps, dim), numbers(heads, group, n + steps, dim)
            queries[:, :, n:] += 2 * keys[:, None, min(40, n - 1), None]
            queries = queries.astype(np.float16).astype(np.float32)
            wo = numbers(heads, group, dim, 8) if evidence else None
            drawn[layer] = Layer(queries, keys, numbers(heads, n + steps, dim, plus=0.25), wo=wo)
            if evidence:
                extra |= {f"r.{layer}": numbers(heads, group, n, dim), f"m.{layer}": numbers(heads, group, n) + 5}
        document = Document(
            f"{kind}-{seed}", "random", "random", split, kind, steps, drawn, rope_base=rope_base, needle=needle,
            notes=notes or {},
        )  # fmt: skip
        return contexts.context(document, extra)

    return make


@pytest.fixture(scope="session")
def examine():
    """Examine a program's text on contexts, in this process."""

    def on(source, *cases, stage="search", seed=b"examination seed", params=None, subject=None):
        candidate = Candidate(textwrap.dedent(source), params)
        workload = Workload(problem.stage(stage), Seed(seed), tuple(cases))
        return examine_workload(problem, subject or PlainSubject(candidate, "torch"), workload)

    return on
