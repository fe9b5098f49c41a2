"""Where there is no GPU, kernels run under Triton's interpreter, which must be told before Triton is imported.

Only for these tests: a variable that stayed would also turn the sandbox's compiler into an interpreter.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

KERNELS = Path(__file__).resolve().parents[2] / "kernels"


def _import_all() -> None:
    for path in sorted(KERNELS.glob("*/*kernel.py")):
        importlib.import_module(f"vevolve.kernels.{path.parent.name}.{path.stem}")


if not torch.cuda.is_available():
    if "triton" in sys.modules:
        raise RuntimeError("Triton was imported before tests/kernels; run these tests in a process of their own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        _import_all()

    @pytest.fixture(autouse=True)
    def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
        """Some of Triton looks at the variable when it runs."""
        monkeypatch.setenv("TRITON_INTERPRET", "1")
