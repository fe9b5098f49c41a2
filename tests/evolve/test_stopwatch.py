"""A GPU that cannot be asked or has no memory left: a reason in words, never a traceback. No GPU is needed here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch

from vevolve.errors import SandboxUnavailable
from vevolve.evolve import stopwatch
from vevolve.sandbox import profiles


def test_a_gpu_that_the_driver_does_not_describe_is_absent_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "gpus", lambda: ("/dev/nvidia0",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("PATH", "")
    assert "nvidia-smi" in stopwatch.absent()
    with pytest.raises(SandboxUnavailable, match="nvidia-smi"):
        stopwatch.gpu()


def test_a_gpu_whose_memory_is_taken_says_so_and_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(2):
        with (
            pytest.raises(SandboxUnavailable, match=r"CUDA out of memory\. Others may be using"),
            stopwatch._alone("GPU-0", lambda _: None),
        ):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB. GPU 0 has")
