"""Figures against Monte Carlo, poison on the CPU, the lock with two processes, and contestants that cheat."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vevolve.errors import VEvolveError
from vevolve.kernels import timing, timing_device
from vevolve.kernels.timing import Timing, same_point, time_in_turn
from vevolve.kernels.timing_figures import Roofline, median_interval, ratio_interval
from vevolve.kernels.timing_poison import Poison

# --------------------------------------------------------------------------------------------------------- figures


def test_the_interval_of_a_median_covers_the_true_one_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(400):
        found = median_interval(np.exp(rng.normal(size=40)).tolist(), 0.9, resamples=400, seed=trial)
        hits += found.low <= 1.0 <= found.high
    # A binomial of 400 at .9 has a standard deviation of .015; the percentile interval is known to be a little short.
    assert 0.84 <= hits / 400 <= 0.95


def test_the_ratio_of_paired_times_does_not_see_what_disturbed_both() -> None:
    rng = np.random.default_rng(2)
    disturbed = np.exp(rng.normal(scale=1.0, size=200))
    found = ratio_interval((2 * disturbed).tolist(), disturbed.tolist())
    assert found.low == pytest.approx(2) and found.high == pytest.approx(2)
    apart = ratio_interval((2 * disturbed).tolist(), rng.permutation(disturbed).tolist())
    assert apart.high - apart.low > 0.1


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_samples_that_are_no_times_are_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        median_interval(samples)


def test_the_floor_is_the_larger_rate_and_never_below_an_empty_call() -> None:
    assert Roofline(measured=4.58e12, data_sheet=4.8e12).floor_s(4.8e9) == pytest.approx(1e-3)
    assert Roofline(measured=5e12, data_sheet=4.8e12).floor_s(5e9) == pytest.approx(1e-3)
    assert Roofline(measured=0, data_sheet=4.8e12, launch_s=2e-6).floor_s(1) == 2e-6
    for line, size in ((Roofline(0, 0), 1.0), (Roofline(1, 1), -1.0)):
        with pytest.raises(ValueError, match="rate"):
            line.floor_s(size)


def test_gpus_are_found_in_the_table_by_how_the_driver_calls_them() -> None:
    rate = timing_device.data_sheet
    assert rate("NVIDIA H200") == 4.8e12 and rate("NVIDIA GH200 480GB") == 4e12
    assert rate("NVIDIA A100-SXM4-80GB") == pytest.approx(2.039e12) and rate("NVIDIA L4") < rate("NVIDIA L40S") < 1e12
    assert rate("NVIDIA GeForce RTX 4090") == 1.008e12 and rate("Something H2000") == 0


# ---------------------------------------------------------------------------------------------------------- poison

DTYPES = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_was_not_written_shows(dtype: str) -> None:
    out = torch.zeros(1000, dtype=getattr(torch, dtype))
    poison = Poison(seed=3)
    poison.fill(out)
    assert poison.left(out) == 1000
    if out.is_floating_point():
        assert out.isnan().all()
    out[:900] = 1
    assert poison.left(out) == 100
    out[900:] = float("nan") if out.is_floating_point() else 0
    assert poison.left(out) == 0


def test_each_call_has_another_pattern_so_that_an_old_one_is_an_answer_and_not_a_gap() -> None:
    out, poison = np.zeros(64, "i8"), Poison()
    poison.fill(out)
    old = out.copy()
    poison.fill(out)
    assert (out < -(1 << 62)).all() and not (out == old).any()
    out[:] = old
    assert poison.left(out) == 0
    with pytest.raises(ValueError, match="filled"):
        poison.left(np.zeros(3))


# ------------------------------------------------------------------------------------------------------------ lock

HOLD = """
import sys, pathlib
from vevolve.kernels.timing_device import alone
with alone("GPU-1/x", pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_time_on_one_device_and_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(VEvolveError, match="held by another timing"), timing_device.alone("GPU-1/x", tmp_path):
            raise AssertionError("both hold it")
        with timing_device.alone("GPU-2", tmp_path):
            pass
        other.kill()
        other.wait()
    with timing_device.alone("GPU-1/x", tmp_path):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_device_that_another_user_timed_on_before_is_held_where_kernels_protect_shared_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def protected(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and path.exists():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", protected)
    for _ in range(2):
        with timing_device.alone("GPU-4", tmp_path):
            assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o666]


def test_an_error_while_a_device_is_held_is_that_error(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), timing_device.alone("GPU-3", tmp_path):
        raise BlockingIOError


# ------------------------------------------------------------------------------------------------------- contest


class Clock:
    """A timer and contestants whose times are known."""

    def __init__(self) -> None:
        self.now = 0.0
        self.busy_until = 0.0
        self.asked: list[tuple[str, int]] = []

    def contestant(self, name: str, took: float, answer: Callable[[int], Any] = lambda n: n, leaves: float = 0) -> Any:
        def call(question: int) -> Any:
            self.asked.append((name, question))
            self.now += took
            self.busy_until = self.now + leaves
            return answer(question)

        return call

    def timer(self, call: Callable[[], Any]) -> tuple[Any, float]:
        before = self.now
        return call(), self.now - before

    def quiet(self) -> float:
        took = 1.0 if self.now >= self.busy_until else 20.0
        self.now += took
        return took


def contest(clock: Clock, contestants: dict[str, Any], **more: Any) -> dict[str, Timing]:
    def check(question: int, answer: Any) -> str:
        return "" if answer == question else f"got {answer}"

    return time_in_turn(contestants, lambda n: n, check, rounds=20, timer=clock.timer, quiet=clock.quiet, **more)


def test_all_are_asked_equally_often_in_an_order_that_varies_and_nothing_twice() -> None:
    clock = Clock()
    found = contest(clock, {"a": clock.contestant("a", 2), "b": clock.contestant("b", 4)}, seed=1)
    assert {name: (t.counts, t.median.middle, len(t.seconds)) for name, t in found.items()} == {
        "a": (True, 2, 20),
        "b": (True, 4, 20),
    }
    questions = [question for _, question in clock.asked]
    assert len(set(questions)) == len(questions) == 46
    firsts = [clock.asked[at][0] for at in range(0, 46, 2)]
    assert 5 < firsts.count("a") < 18


def test_an_answer_kept_from_an_earlier_call_is_a_fault_and_has_no_time_that_counts() -> None:
    clock, kept = Clock(), {}

    def cached(question: int) -> int:
        return kept.setdefault("answer", question)

    ended: list[str] = []
    contestants = {"cheat": clock.contestant("cheat", 0.1, cached), "honest": clock.contestant("honest", 5)}
    found = contest(clock, contestants, end=ended.append)
    assert not found["cheat"].counts and "got" in found["cheat"].faults[0] and ended == ["cheat"]
    assert found["honest"].counts and found["honest"].median.middle == 5


def test_one_who_raises_is_not_asked_again_and_does_not_end_the_contest() -> None:
    clock = Clock()
    contestants = {"broken": clock.contestant("broken", 1, lambda n: 1 // 0), "honest": clock.contestant("honest", 5)}
    found = contest(clock, contestants)
    assert "ZeroDivisionError" in found["broken"].faults[0] and [n for n, _ in clock.asked].count("broken") == 1
    assert found["honest"].counts


def test_work_left_running_is_a_fault_of_who_left_it() -> None:
    clock = Clock()
    contestants = {"cheat": clock.contestant("cheat", 1, leaves=900), "honest": clock.contestant("honest", 5)}
    found = contest(clock, contestants)
    assert "left running" in found["cheat"].faults[0] and found["honest"].counts
    assert found["honest"].median.middle == 5


def test_work_that_goes_on_without_its_process_is_told_to_be_maybe_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "RETIRED_S", 0.0)
    clock = Clock()
    found = contest(clock, {"one": clock.contestant("one", 1, leaves=1e9)})["one"]
    assert len(found.faults) == 2 and "another program may be using it" in found.faults[1] and not found.counts
    ended = contest(clock := Clock(), {"one": clock.contestant("one", 1, leaves=900)})["one"]
    assert len(ended.faults) == 1


def test_a_little_work_left_after_most_answers_is_a_fault_and_after_one_is_not() -> None:
    clock = Clock()
    found = contest(clock, {"cheat": clock.contestant("cheat", 1, leaves=10)})
    assert "after 23 of 23 answers" in found["cheat"].faults[0]
    clock, once = Clock(), []

    def hiccup(question: int) -> int:
        clock.busy_until = clock.now + (10 if not once else 0)
        once.append(1)
        return question

    call = clock.contestant("honest", 1)
    assert contest(clock, {"honest": lambda n: hiccup(call(n))})["honest"].counts


def test_a_median_below_the_roofline_is_suspect_and_does_not_count() -> None:
    clock = Clock()
    contestants = {"fast": clock.contestant("fast", 0.5), "fair": clock.contestant("fair", 1.5)}
    line = Roofline(measured=80.0, data_sheet=100.0)
    found = contest(clock, contestants, roofline=line, bytes_moved=lambda q, a: 100.0)
    assert "below the floor" in found["fast"].suspect and not found["fast"].counts
    assert found["fair"].counts and found["fair"].suspect == ""


def test_a_point_that_is_worse_where_it_is_timed_is_another_point() -> None:
    way: dict[str, Any] = {"error": "min", "quality": "max"}
    metered = {"error": 0.10, "quality": 0.9}
    assert same_point(metered, {"error": 0.101, "quality": 0.89}, way) == ""
    assert same_point(metered, {"error": 0.05, "quality": 0.99}, way) == ""
    assert "error" in same_point(metered, {"error": 0.11, "quality": 0.9}, way)
    assert "quality" in same_point(metered, {"error": 0.1, "quality": 0.8}, way)
    assert "error" in same_point(metered, {"error": float("nan"), "quality": 0.9}, way)
