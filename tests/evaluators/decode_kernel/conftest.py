"""A sandbox in which Triton's interpreter starts afresh, and the examination of a kernel's text in it."""

import dataclasses
import importlib.util

import pytest

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.decode_kernel.problem import problem
from vevolve.evaluators.decode_kernel.workload import cases
from vevolve.evaluators.examination import examine_workload
from vevolve.sandbox import Limits, Sandbox
from vevolve.sandbox.profiles import CPU
from vevolve.types import Candidate, Seed

# Not imported here: Triton must be told of its interpreter first, which tests/kernels do.
if importlib.util.find_spec("triton") is None:
    pytest.skip("kernels are Triton's", allow_module_level=True)


@pytest.fixture(scope="session")
def interpreter():
    """A sandbox for all tests here. Its processes begin with Triton, since importing it takes longer than a verdict."""
    warm = dataclasses.replace(CPU, imports=("triton.language",), environment=(("TRITON_INTERPRET", "1"),))
    with Sandbox(arrays="numpy", limits=Limits(call_s=20.0), profile=warm) as opened:
        yield opened


@pytest.fixture(scope="session")
def verdict_on(interpreter):
    """The verdict on a text, on some shapes of a split."""

    def on(text, split="search", shapes=slice(1, 2), seed=b"decode kernels!!"):
        stage = problem.stage(split)
        workload = Workload(stage, Seed(seed), cases(split, Seed(seed))[shapes])
        return examine_workload(problem, interpreter.subject(Candidate(text)), workload)

    return on


@pytest.fixture(scope="session")
def seed_text():
    """The text of a shipped seed, with some of it replaced."""

    def of(name, *pairs):
        text = problem.seed(name).read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        return text

    return of
