"""Hostile candidates with a GPU in their hands, timed and verified by this side. Each names what must come of it.

The same attacks, by the same code, as those of `vevolve attack`; below them, what is not a contest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from vevolve.evolve.attack import with_gpu
from vevolve.evolve.attack.on_gpu import HONEST, LIMITS, ROWS, Contest, contest, fresh
from vevolve.kernels.timing import same_point
from vevolve.kernels.timing_figures import Roofline
from vevolve.sandbox import Sandbox, profiles
from vevolve.types import Array, Candidate, CandidateFault, Json

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not profiles.gpus(), reason="needs an NVIDIA GPU: no /dev/nvidia0 here"),
]

ATTACKS = {one.name: one for one in with_gpu()}


@pytest.fixture(scope="module")
def on_gpu() -> Iterator[Contest]:
    with contest() as held:
        yield held


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(limits=LIMITS, profile=profiles.gpu()) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_program_gains_nothing(name: str, on_gpu: Contest) -> None:
    outcome = on_gpu.run(ATTACKS[name])
    print(outcome)
    assert not outcome.succeeded, outcome.contained_by
    assert outcome.verdict in ATTACKS[name].expected
    if name in ("gpu_work_left_running", "gpu_background_thread"):
        assert "left running" in outcome.contained_by


def test_an_honest_program_is_timed_without_a_fault_and_its_floor_is_believed(on_gpu: Contest) -> None:
    found = on_gpu.times(rounds=40, first=HONEST, second=HONEST)
    medians = [timing.median for timing in found.values()]
    print([(f"{m.low * 1e6:.0f}", f"{m.middle * 1e6:.0f}", f"{m.high * 1e6:.0f}") for m in medians])
    assert all(timing.counts for timing in found.values())
    assert Roofline(0, 4.8e12).floor_s(on_gpu.matrix.nbytes) < medians[0].low


BRANCHING = (
    HONEST
    + """
def score(query):
    out = held["matrix"] @ query
    if query.is_cuda: out[out.shape[0] // 2:] = 0
    return out
"""
)


def test_a_program_that_does_less_where_it_is_timed_is_at_another_operating_point(
    sandbox: Sandbox, on_gpu: Contest
) -> None:
    def error(held: Sandbox, text: str) -> float:
        with held.subject(Candidate(text)).fresh() as process:
            on_device = process.call("build", on_gpu.matrix, returns=Json())
            assert on_device == (held is sandbox)
            score = [process.call("score", fresh(n), returns=Array("f4", (ROWS,))) for n in range(4)]
        pairs = [(on_gpu.matrix @ fresh(n), answer) for n, answer in enumerate(score)]
        return float(np.mean([np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in pairs]))

    way: dict[str, Any] = {"error": "min"}
    with Sandbox() as on_cpu:
        for text, differs in ((HONEST, False), (BRANCHING, True)):
            metered, timed = error(on_cpu, text), error(sandbox, text)
            # What arithmetic in float32 explains on both sides.
            found = same_point({"error": metered + 1e-4}, {"error": timed}, way)
            assert bool(found) == differs, (metered, timed)


LEAVE = """
import torch
def f(gigabytes):
    held = torch.full((gigabytes << 27,), 0x5EC2E75EC2E75EC, dtype=torch.int64, device="cuda")
    return sum(int((part == 0x5EC2E75EC2E75EC).sum()) for part in held.split(1 << 29))
"""
SEARCH = """
import torch
def f(gigabytes):
    found, other = 0, 0
    for _ in range(gigabytes // 8):
        try: held = torch.empty(8 << 27, dtype=torch.int64, device="cuda")
        except torch.OutOfMemoryError: break
        keep.append(held)
        found += int((held == 0x5EC2E75EC2E75EC).sum()); other += int((held != 0).sum())
    return [found, other, len(keep) * 8]
keep = []
"""


def test_device_memory_that_another_process_left_holds_nothing_of_it(sandbox: Sandbox) -> None:
    import torch

    free = torch.cuda.mem_get_info()[0] >> 30
    share = max(8, (free * 3 // 4) // 8 * 8)
    assert sandbox.subject(Candidate(LEAVE)).call("f", share, returns=Json()) == share << 27
    found, other, searched = sandbox.subject(Candidate(SEARCH)).call("f", share, returns=Json())
    print(f"{searched} GiB searched, {found} words of another process, {other} words that are not zero")
    assert searched >= share // 2 and found == 0


def test_a_kernel_on_the_device_reads_nothing_of_another_process_at_its_address(sandbox: Sandbox) -> None:
    reading = (
        "import ctypes, torch\ntorch.ones(1, device='cuda')\ndriver = ctypes.CDLL('libcuda.so.1')\n"
        "def f(place):\n    out = (ctypes.c_uint8 * 64)()\n"
        "    return [driver.cuMemcpyDtoH_v2(out, ctypes.c_uint64(place), ctypes.c_size_t(64)), list(out)]"
    )
    telling = (
        "import torch\nheld = torch.full((1 << 28,), 0x55, dtype=torch.uint8, device='cuda')\n"
        "torch.cuda.synchronize()\ndef f(): return held.data_ptr() + (1 << 27)"
    )
    with sandbox.subject(Candidate(telling)).fresh() as bystander:
        place = bystander.call("f", returns=Json())
        error, read = sandbox.subject(Candidate(reading)).call("f", place, returns=Json())
    assert error != 0 or 0x55 not in read


def test_a_flood_of_device_memory_is_a_fault_of_resources(sandbox: Sandbox) -> None:
    text = "import torch\nheld = []\ndef f():\n    while True: held.append(torch.empty(1 << 30, device='cuda'))"
    with pytest.raises(CandidateFault) as caught:
        sandbox.subject(Candidate(text)).call("f", returns=Json())
    assert caught.value.status == "resource", caught.value
