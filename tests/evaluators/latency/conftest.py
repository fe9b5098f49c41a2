"""A CPU and a clock in the place of a GPU: the protocol is the same, processes are sandboxed, times are made up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vevolve.evaluators.latency import Device
from vevolve.kernels.timing_figures import Roofline
from vevolve.sandbox import Sandbox


class Clock:
    """Says that every call took as long as it is told; each call is really made."""

    def __init__(self) -> None:
        self.says: Callable[[Any], float] = lambda answer: 1e-3
        self.calls = 0

    def __call__(self, call: Callable[[], Any]) -> tuple[Any, float]:
        self.calls += 1
        answer = call()
        return answer, self.says(answer)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def device(sandbox: Sandbox, clock: Clock) -> Iterator[Device]:
    """A machine whose "device" is its CPU. Memory of 1 GB/s, so that few bytes have a floor."""

    def opened() -> contextlib.AbstractContextManager[Sandbox]:
        return contextlib.nullcontext(sandbox)

    yield Device(
        on_device=opened,
        on_cpu=opened,
        place="cpu",
        roofline=lambda: Roofline(measured=1e9, data_sheet=0.0),
        timer=clock,
        quiet=lambda: 1.0,
        conditions=lambda: {"name": "a CPU that stands in"},
    )
