"""Latency on a GPU: how long a candidate's step takes, measured beside an incumbent, as an objective nobody can fake.

No part of a verdict, and of no problem's hash: a problem that can be timed has a file of its name here, with

- `OBJECTIVES`: what points on the GPU are ranked by;
- `ground(device, key)`: a workload for that device, drawn once, with a method `measure(candidate, incumbent)`.

The protocol has a version and a hash of its own, which stand in every measurement. Where there is no GPU nothing is
measured. See docs/decisions/012-latency.md.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Protocol

from vevolve.errors import BadInput
from vevolve.evaluators.contract import Problem
from vevolve.evaluators.latency.device import Device
from vevolve.evaluators.latency.result import FAMILY, Measurement, Span, Timed
from vevolve.kernels import timing
from vevolve.types import Candidate, Objective, Seed

__all__ = ["FAMILY", "VERSION", "Device", "Ground", "Measurement", "Span", "Timed", "ground", "objectives", "protocol"]

VERSION = 1
"""Of the protocol. Times under different versions do not compare."""


class Ground(Protocol):
    """A workload that lies ready for a device."""

    def measure(self, candidate: Candidate, incumbent: Candidate) -> Measurement:
        """Time both in turn, and verify all that they answered. A fault of either is part of what is found."""
        ...

    def close(self) -> None:
        """End the sandboxes that measuring opened."""
        ...


def objectives(problem: Problem) -> tuple[Objective, ...]:
    """What points on the GPU are ranked by; () where candidates of this problem are not timed."""
    module = _module(problem)
    found: tuple[Objective, ...] = () if module is None else module.OBJECTIVES
    return found


def ground(problem: Problem, device: Device, key: Seed | None = None) -> Ground:
    """Draw the workload of a problem, by default from a secret key that is drawn now.

    Raises:
        BadInput: candidates of this problem are not timed.
    """
    module = _module(problem)
    if module is None:
        raise BadInput(f"Candidates of {problem.name} are not timed: its protocol has no latency stage.")
    found: Ground = module.ground(device, key or Seed.fresh())
    return found


@functools.cache
def protocol() -> str:
    """The sha256 of what measures: the files here, and the clock's."""
    files = [*Path(__file__).parent.glob("*.py"), *Path(timing.__file__).parent.glob("timing*.py")]
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _module(problem: Problem) -> ModuleType | None:
    """The file here of a shipped problem; None where there is none."""
    name = f"{__name__}.{problem.name}"
    ships = problem.name.isidentifier() and problem.folder == Path(__file__).resolve().parents[1] / problem.name
    return importlib.import_module(name) if ships and importlib.util.find_spec(name) is not None else None
