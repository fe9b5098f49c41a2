"""Kernels on a stand-in for a launcher: what it says of itself is held against clock, float64 and the bytes."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vevolve.errors import BadInput, SandboxUnavailable
from vevolve.evaluators import latency
from vevolve.evaluators.circle_packing.problem import problem as circle_packing
from vevolve.evaluators.decode_kernel import workload
from vevolve.evaluators.decode_kernel.problem import problem
from vevolve.evaluators.latency import Device, Measurement
from vevolve.evaluators.latency.decode_kernel import KernelGround
from vevolve.evaluators.programs import read_program
from vevolve.evaluators.sparse_decode.problem import problem as sparse_decode
from vevolve.kernels.timing_figures import Roofline
from vevolve.types import Candidate, Frame, Seed

SHAPE = (1, 2, 4, 64, 16)
KEY = Seed(b"a kernel's ground")
SEED = read_program(problem.seed("attend_shared"))
OTHER = read_program(problem.seed("attend"))


class Launcher:
    """Answers as the launcher does; `twist` changes what it says."""

    def __init__(self, twist: Any) -> None:
        self.twist = twist
        self.kept: tuple[Any, ...] = ()
        self.closed = False

    def call(self, function: str, *given: Any, returns: object) -> Any:
        if function == "keep":
            self.kept = given[:2]
        if function != "step":
            return 1
        query, ids, log_prob, _ = given
        case = workload.Case(query, *self.kept, ids, log_prob)
        frame = {
            "out": workload.reference(case).astype(np.float16),
            "seconds": np.array([1e-4, 2e-4]),
            "intact": np.array([1]),
        }
        return Frame(self.twist(frame))

    def __exit__(self, *_: object) -> None:
        self.closed = True


class Machine:
    """A compiler that makes nothing and a sandbox of launchers, the first with a twist."""

    def __init__(self, twist: Any) -> None:
        self.twists = [twist, dict]
        self.launchers: list[Launcher] = []

    def subject(self, candidate: Candidate) -> Any:
        self.launchers.append(Launcher(self.twists[len(self.launchers)]))
        return SimpleNamespace(fresh=lambda: self.launchers[-1])

    def compile(self, *given: Any, **options: int) -> Any:
        return SimpleNamespace(name=given[1], code=b"code", warps=options["num_warps"], shared=0, scratch=(0, 0))


def measured(twist: Any = dict, rate: float = 1e12, candidate: Candidate = SEED) -> tuple[Measurement, Machine]:
    machine = Machine(twist)

    def opened() -> Any:
        return contextlib.nullcontext(machine)

    device = Device(on_device=opened, on_cpu=opened, compiler=opened, roofline=lambda: Roofline(rate, 0.0))
    return KernelGround(device, KEY, SHAPE, 64, rounds=6).measure(candidate, OTHER), machine


def test_an_honest_kernel_has_the_devices_time_beside_the_incumbents() -> None:
    found, machine = measured(lambda frame: frame | {"seconds": np.array([5e-5, 2e-4])})
    (one,) = found.candidate
    assert one.counts and one.calls == 6 and one.latency_us is not None
    assert one.latency_us.middle == pytest.approx(50) and found.ratios[one.label].middle == pytest.approx(0.5)
    assert one.label == "B=1 H=2 G=4 n=64 m=16 d=64"
    (point,) = found.points()
    assert (point.label, point["latency_us"]) == (one.label, pytest.approx(50))
    assert all(launcher.closed for launcher in machine.launchers)


TWISTS = {
    "a wrong answer": (lambda frame: frame | {"out": frame["out"] * np.float16(1.01)}, "relative error"),
    "an answer that is no number": (lambda frame: frame | {"out": frame["out"] * np.float16("nan")}, "relative error"),
    "an old answer": (lambda frame, kept=[]: kept[0] if kept else kept.append(frame) or frame, "relative error"),
    "an input written to": (lambda frame: frame | {"intact": np.array([0])}, "an input was written to"),
    "a time that its clock does not bear out": (
        lambda frame: frame | {"seconds": np.array([1e-6, 1.0])},
        "the device's events say",
    ),
    "a time that is no number": (lambda frame: frame | {"seconds": np.array([np.nan, 1.0])}, "the device's events say"),
}


@pytest.mark.parametrize(("twist", "said"), TWISTS.values(), ids=TWISTS)
def test_what_is_not_borne_out_is_a_fault_and_no_point(twist: Any, said: str) -> None:
    found, machine = measured(twist)
    assert said in found.candidate[0].problem and found.points() == () and found.ratios == {}
    assert found.incumbent[0].counts and all(launcher.closed for launcher in machine.launchers)


def test_a_time_below_what_the_bytes_allow_is_suspect_and_no_point() -> None:
    found, _ = measured(rate=1e6)
    assert found.candidate[0].problem.startswith("SUSPECT: ") and found.points() == ()
    assert found.candidate[0].floor_us is not None and found.candidate[0].floor_us > 100


def test_what_does_not_compile_is_told_and_the_incumbent_is_timed_all_the_same() -> None:
    found, _ = measured(candidate=Candidate("import os\n"))
    assert found.candidate[0].problem.startswith("interface: ") and found.incumbent[0].counts


def test_without_a_compiler_nothing_is_timed() -> None:
    device = Device(on_device=contextlib.nullcontext, on_cpu=contextlib.nullcontext)
    with pytest.raises(SandboxUnavailable, match="no compiler"):
        KernelGround(device, KEY, SHAPE, 64).measure(SEED, OTHER)


# -------------------------------------------------------------------------------------------------------- registry


def test_problems_are_found_by_their_name_and_those_without_a_protocol_have_no_latency() -> None:
    assert [axis.name for axis in latency.objectives(sparse_decode)] == ["traffic", "error", "latency_us"]
    assert [axis.name for axis in latency.objectives(problem)] == ["latency_us"]
    assert latency.objectives(circle_packing) == ()
    with pytest.raises(BadInput, match="circle_packing are not timed"):
        latency.ground(circle_packing, Device(on_device=contextlib.nullcontext, on_cpu=contextlib.nullcontext))
