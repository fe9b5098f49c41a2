"""The problem `plane`, with the models and workers that stand in for real ones."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


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
