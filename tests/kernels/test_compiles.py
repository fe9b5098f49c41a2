"""Every kernel compiles for an H200 and fits it, on a machine that has none: the interpreter does not tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import triton

SHARED = 227 << 10
"""Bytes of shared memory that a block of an H200 may have."""
SCRIPT = Path(__file__).with_name("compile_all.py")
ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
KERNELS = Path(__file__).resolve().parents[2] / "kernels"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "width"), [("bfloat16", 128), ("float32", 96)])
def test_every_kernel_compiles_for_an_h200_and_fits_its_shared_memory(kind: str, width: int, tmp_path: Path) -> None:
    if not ASSEMBLER.exists():
        pytest.skip("this Triton ships no assembler for NVIDIA GPUs")
    clean = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(SCRIPT), kind, str(width)]
    found = subprocess.run(
        command, env=clean | {"TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-3000:]
    lines = {words[0]: words for words in (line.split() for line in found.stdout.splitlines())}
    files = {path.relative_to(KERNELS).with_suffix("") for path in KERNELS.glob("*/*kernel.py")}
    launched = {".".join(name.split(".")[:2]) for name in lines}
    # That one holds what the others share.
    assert launched == {".".join(path.parts) for path in files} - {"attend.merge_kernel"}
    assert all(int(words[2]) <= SHARED for words in lines.values())
