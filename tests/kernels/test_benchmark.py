"""What the benchmark of a decode step times is right, tried on a small step where nothing is timed."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def _measured() -> dict[str, Any]:
    rows = {"attend 2%": {"us": [9.0, 10.0, 11.0], "floor_us": 2.0, "suspect": ""}, "late": {"fault": "wrong"}}
    return {"read_TB_s": 4.5, "conditions": {"name": "a GPU"}, "shapes": {"1x32768": {"rows": rows}}}


def test_the_plot_is_drawn_of_what_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.syspath_prepend(BENCHMARKS)
    figure = importlib.import_module("decode_figure")
    figure.draw(_measured(), tmp_path / "roofline.png")
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")
    names = ("select 2% by 32 bits", "select + attend 2%", "attend 2%", "all tokens at 4.25 bits", "PyTorch SDPA")
    assert [figure.kind(name) for name in names] == ["select", "select + attend", "attend", "codes", "dense"]


def test_instructions_are_counted_for_every_warp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    compiled = importlib.import_module("compiled")
    kinds = compiled.by_kind(Counter(["LDGSTS", *["LOP3", "HMMA"] * 4, "BRA"]), 2)
    assert (kinds["integer and logic"], kinds["tensor core"], kinds["spills"], kinds["all"]) == (8, 8, 0, 20)
    # 65,536 registers and 228 KiB, of which each block's system takes one.
    assert compiled.blocks(255, 38976, 2) == 4 and compiled.blocks(223, 19456, 1) == 9
    assert compiled.blocks(100, 70720, 1) == 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_contestant_answers_rightly_and_a_changed_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("the benchmark itself verifies every answer on a GPU")
    monkeypatch.syspath_prepend(BENCHMARKS)
    steps, rows = importlib.import_module("decode_step"), importlib.import_module("decode_rows")
    for module in (steps, rows):
        monkeypatch.setattr(module, "HEADS", 1)
    monkeypatch.setattr(steps, "TABLES", 4)
    monkeypatch.setattr(steps, "WINDOW", 8)
    monkeypatch.setattr(rows, "flashinfer", lambda step: None)
    step = steps.Step(1, 2048)
    rows.enlist(step)
    question = step.fresh(0)
    for name, contestant in step.contestants.items():
        contestant.replay()
        assert step.check(question, contestant) == "", name
        if contestant.out.is_floating_point():
            contestant.out[0, 0, 0] += 1
            assert "relative error" in step.check(question, contestant), name
