"""The problem `plane`, with the models and workers that stand in for real ones."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vevolve.types import Seed


@pytest.fixture(autouse=True)
def secrets_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeds of runs, which are drawn at random, come in an order that is the same in every test and every time.

    A run with another seed meets other programs, and some of them say what a test does not expect.
    """
    drawn = itertools.count(1)
    monkeypatch.setattr(Seed, "fresh", classmethod(lambda cls: cls(next(drawn).to_bytes(16, "big"))))


@pytest.fixture(scope="session")
def plane() -> ModuleType:
    """The module `doubles` beside the problem."""
    name = "vevolve_test_plane"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "plane" / "doubles.py")
        if spec is None or spec.loader is None:
            raise ImportError("the problem 'plane' of the tests is gone")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
