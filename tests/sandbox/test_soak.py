"""A small soak of the sandbox; `benchmarks/soak.py` runs ten thousand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("soak_of_a_sandbox", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_hostile_candidates_leave_nothing_behind_and_touch_no_score_of_others(soak: ModuleType) -> None:
    found = soak.soak(120, seed=3, most=40, say=lambda line: None)
    assert not found.complaints
    assert (found.honest, found.shipped) == (30, 40) and sum(found.statuses.values()) == 90
    assert {"ok", "crash", "wrong"} <= {*found.statuses}


def test_a_soak_notices_when_an_honest_score_changes(soak: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = soak.examine, []

    def off_by_a_little(*args: object) -> object:
        verdict = real(*args)
        asked.append(verdict)
        if len(asked) < 10 or not verdict.valid:
            return verdict
        point = verdict.points[0]
        return verdict.model_copy(
            update={"points": (point.model_copy(update={"sum_radii": point["sum_radii"] - 1e-9}),)}
        )

    monkeypatch.setattr(soak, "examine", off_by_a_little)
    found = soak.soak(16, seed=0, most=4, say=lambda line: None)
    assert any("honest candidate got" in line for line in found.complaints)
