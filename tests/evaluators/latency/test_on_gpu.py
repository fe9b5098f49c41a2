"""The protocols on a real GPU, in the sandbox's profile for it, with programs that are honest and one that lies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from vevolve.evaluators.decode_kernel.problem import problem as decode_kernel
from vevolve.evaluators.latency import Device, Measurement
from vevolve.evaluators.latency.cache import Sizes
from vevolve.evaluators.latency.decode_kernel import KernelGround
from vevolve.evaluators.latency.sparse_decode import SparseGround
from vevolve.evaluators.programs import read_program
from vevolve.evaluators.sparse_decode.problem import problem as sparse_decode
from vevolve.evolve import stopwatch
from vevolve.sandbox import profiles
from vevolve.types import Candidate, Seed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not profiles.gpus(), reason="needs an NVIDIA GPU: no /dev/nvidia0 here"),
]


@pytest.fixture(scope="module")
def device() -> Device:
    return stopwatch.gpu()


@pytest.fixture(scope="module")
def ground(device: Device) -> Iterator[SparseGround]:
    sizes = Sizes(layers=2, sequences=1, tokens=8192)
    with contextlib.closing(SparseGround(device, Seed.fresh(), sizes, rounds=8)) as opened:
        yield opened


def sparse(name: str) -> Candidate:
    return read_program(sparse_decode.seed(name))


def problems(found: Measurement) -> list[str]:
    print(found)
    return [one.problem for one in (*found.candidate, *found.incumbent)]


def test_a_program_without_a_look_at_its_tensors_is_recorded_in_a_graph_and_faster_for_it(
    ground: SparseGround,
) -> None:
    plain = sparse("streaming_llm")
    looking = Candidate(plain.source.replace("    ids = choose(", "    float(query.sum())\n    ids = choose("))
    found = ground.measure(plain, looking)
    assert problems(found) == ["", ""]
    assert found.candidate[0].mode == "CUDA graph" and found.incumbent[0].mode.startswith("eager: ")
    assert "float(query.sum())" in found.incumbent[0].mode, "the line that kept it from being recorded"
    assert found.ratios["128 tokens"].high < 1


def test_a_program_that_looks_for_the_device_to_do_less_has_no_time_that_counts(ground: SparseGround) -> None:
    text = sparse("hash_attention").source
    at = "    ids = choose(score("
    lies = f"    if query.is_cuda:\n        layer, budget = 0, type(budget)(tokens=8)\n{at}"
    found = ground.measure(Candidate(text.replace(at, lies)), sparse("vattention"))
    lied, honest = problems(found)
    assert "other tokens than its metered twin" in lied and honest == "" and not found.points()
    assert found.incumbent[0].latency_us is not None and found.conditions["name"]


def test_kernels_are_timed_by_the_devices_events(device: Device) -> None:
    ground = KernelGround(device, Seed.fresh(), (1, 2, 4, 4096, 256), 64, rounds=8)
    programs = [read_program(decode_kernel.seed(name)) for name in ("attend", "attend_shared")]
    found = ground.measure(*programs)
    assert problems(found) == ["", ""]
    assert len(found.ratios) == 1 and len(found.points()) == 1
