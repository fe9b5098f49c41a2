"""A candidate on one case under Triton's interpreter: every program of every launch, and what it moved.

Launcher and candidate run in a sandboxed process; memory, counters and the answer in float64 stay here. The process is
told which program to run, so that what each one moved is known and not claimed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.decode_kernel.memory import PROCESSORS, Memory, Tally
from vevolve.evaluators.decode_kernel.program import SCALE, Number, Program
from vevolve.evaluators.decode_kernel.workload import Case, reference
from vevolve.types import Arrays, Candidate, CandidateFault, Frame, Process, Service, Subject

LAUNCHER = Candidate(Path(__file__).with_name("launcher.py").read_text(encoding="utf-8"))
ERROR_BYTES = 1200
ANSWER = Arrays(max_count=3, max_bytes=32 << 20, max_dims=1)


@dataclass(frozen=True, eq=False)
class Run:
    """What came of one case.

    Attributes:
        case: the case.
        errors: relative L2 error of each query head, [B, H, G]; NaN where the answer holds a number that is none.
        tally: what was moved.
    """

    case: Case
    errors: NDArray[np.float64]
    tally: Tally

    @property
    def error(self) -> float:
        """The largest one."""
        return float(self.errors.max())

    @property
    def traffic(self) -> float:
        """Bytes moved, over the floor."""
        return self.tally.moved / self.case.floor

    @property
    def span(self) -> float:
        """Bytes that go by on all processors until the last one is done, over the floor."""
        return PROCESSORS * self.tally.waited / self.case.floor


def hosted(subject: Subject) -> Subject:
    """The launcher in the sandbox of a candidate."""
    return subject.hosting(LAUNCHER)


def prepare(process: Process, program: Program) -> None:
    """Hand the kernels to a launcher. Raises `CandidateFault` where they do not even load."""
    _answer(process.call("prepare", program.text, returns=ANSWER))


def attend(process: Process, program: Program, case: Case) -> Run:
    """Run every launch on a case. Raises `CandidateFault`."""
    sizes: dict[str, Number] = {**program.constants, **case.sizes}
    scratch = {name: np.empty(count, program.scratch[name][0]) for name, count in program.elements(sizes).items()}
    memory = Memory(case.inputs, {"out": np.empty(case.query.shape, np.float16), **scratch})
    service = {"memory": Service(load=memory.load)}
    for launch in program.launches:
        memory.launch()
        grid = launch.shape(sizes)
        asked = program.arguments[launch.kernel]
        given: Mapping[str, Number] = {**sizes, SCALE: case.scale}
        numbers = [(name, (given[name], constant)) for name, constant in asked.items() if name in given]
        pointers = {name: (memory.address(name), memory[name].dtype.name) for name in asked if name not in given}
        for at in itertools.product(*map(range, grid)):
            memory.program()
            answer = process.call("run", launch.kernel, grid, at, numbers, pointers, returns=ANSWER, serve=service)
            memory.store(_answer(answer))
    memory.launch()
    memory.tally.launches.pop()
    return Run(case, errors(memory["out"].reshape(case.query.shape), case), memory.tally)


def _answer(frame: Frame) -> Frame:
    """An answer that is no failure. Raises `CandidateFault`."""
    if (told := frame.get("error")) is not None:
        text = told.astype(np.uint8).tobytes()[:ERROR_BYTES].decode("utf-8", "replace")
        raise CandidateFault("crash", text)
    return frame


def errors(out: NDArray[np.generic], case: Case) -> NDArray[np.float64]:
    """Relative L2 error of each query head, [B, H, G], against float64; NaN where `out` holds what is no number."""
    true = reference(case)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.linalg.norm(out.astype(np.float64) - true, axis=-1)
    found: NDArray[np.float64] = off / np.linalg.norm(true, axis=-1)
    return found
