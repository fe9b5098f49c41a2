"""What the tests of all seeds share."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from vevolve import registry


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of tiny operations: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loaded(problem: str, name: str) -> ModuleType:
    """A seed as a module of its own: what a test sets in one is not there in the next."""
    spec = importlib.util.spec_from_file_location(f"seed_{name}", registry.seed_path(f"{problem}/{name}"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def loader() -> Callable[[str], Callable[[str], ModuleType]]:
    """Of a problem's name, the function from a seed's name to its module."""
    return lambda problem: functools.partial(loaded, problem)
