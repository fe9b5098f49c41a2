"""What a protocol needs of a machine with a GPU. It is handed in, so that tests put a CPU and a clock in its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from vevolve.kernels.timing import Timer, by_the_wall
from vevolve.kernels.timing_figures import Roofline
from vevolve.types import Candidate, Subject


class Container(Protocol):
    """What makes a subject of a candidate: a sandbox."""

    def subject(self, candidate: Candidate) -> Subject:
        """The handle through which a candidate is called."""
        ...


def _unknown() -> Roofline:
    return Roofline(0.0, 0.0)


@dataclass(frozen=True)
class Device:
    """A GPU, and how candidates reach it. Whoever lets anything run on it holds it alone meanwhile.

    Attributes:
        on_device: opens a sandbox whose processes have the GPU, and whose tensors lie on it.
        on_cpu: opens one whose processes have none.
        compiler: opens the process that makes machine code of kernels; None where there is none.
        alone: holds the GPU against all other timings; waits while another holds it.
        place: where tensors of this process's own lie, "cuda" or "cpu".
        capability: of the GPU, 90 for 9.0.
        quiet: flushes caches, and returns how long a fixed piece of our own work took.
        roofline: the rates of its memory; all 0 where they are not known.
        timer: takes the time of a call, on this side.
        conditions: what times depend on, as they are now: GPU, clocks, driver and versions.
    """

    on_device: Callable[[], AbstractContextManager[Container]]
    on_cpu: Callable[[], AbstractContextManager[Container]]
    compiler: Callable[[], AbstractContextManager[Any]] | None = None
    alone: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    place: str = "cuda"
    capability: int = 0
    quiet: Callable[[], float] | None = None
    roofline: Callable[[], Roofline] = _unknown
    timer: Timer[Any] = by_the_wall
    conditions: Callable[[], Mapping[str, str]] = dict
