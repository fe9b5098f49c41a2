"""Latency of `decode_kernel`: kernels on one large case, by the device's events.

Texts are read as data, as everywhere in the problem. The compiler's processes make machine code of them; a launcher of
ours for each, in a sandboxed process with the device, loads and times it with the device's events, which its own clock
must bear out. No code of a candidate runs on the host there. Each call has a new query, new ids and new probabilities;
outputs and scratch are poisoned, L2 is flushed, inputs are compared before and after, every timed answer is held
against float64 here, and a time below what the bytes allow is suspect.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vevolve.errors import SandboxUnavailable
from vevolve.evaluators import latency
from vevolve.evaluators.decode_kernel import device as told_device
from vevolve.evaluators.decode_kernel import run, workload
from vevolve.evaluators.decode_kernel.problem import TOLERANCE, problem
from vevolve.evaluators.decode_kernel.program import read
from vevolve.evaluators.decode_kernel.workload import Case
from vevolve.evaluators.latency.device import Container, Device
from vevolve.evaluators.latency.result import MICRO, Measurement, Timed, ratio
from vevolve.evaluators.latency.result import latency as spanned
from vevolve.kernels.timing import Timing, time_in_turn
from vevolve.types import Arrays, Candidate, CandidateFault, Frame, Json, Objective, Process, Seed

SHAPE, WIDTH, ROUNDS = (8, 8, 4, 32_768, 640), 128, 20
"""B, H, G, n, m and d of the case: about 2 % of 32k tokens for eight sequences of Llama-3's heads."""
LAG_S = 2e-3
"""The most by which the launcher's clock may exceed the device's."""
LABEL = "B=8 H=8 G=4 n=32768 m=640 d=128"

OBJECTIVES = (
    Objective("latency_us", "min", worst=10_000.0, best=2.0, scale="log10", unit=f"microseconds of one step, {LABEL}"),
)


class Contestant:
    """A candidate, compiled and loaded in a process of its own with the device.

    Args:
        sandbox: whose processes have the device.
        compiler: makes machine code.
        candidate: the program.
        case: whose keys and values stay on the device.
        capability: of the device.

    Raises:
        CandidateFault: it does not compile, or asks for what it may not have.
    """

    def __init__(self, sandbox: Container, compiler: Any, candidate: Candidate, case: Case, capability: int) -> None:
        program = read(candidate)
        jobs = told_device.jobs(program, case.sizes, case.scale)
        codes: list[Any] = []
        told: list[dict[str, Any]] = []
        for job in jobs:
            machine = compiler.compile(
                program.text, job.kernel, job.signature, job.constants, job.aligned, capability, **job.options
            )
            if any(machine.scratch):
                raise CandidateFault("resource", f"`{job.kernel}` wants memory of the compiler's own")
            codes.append(np.frombuffer(machine.code, np.uint8))
            told.append(
                {
                    "name": machine.name,
                    "warps": machine.warps,
                    "shared": machine.shared,
                    "grid": list(job.grid),
                    "arguments": [list(one) for one in job.arguments],
                }
            )
        elements = program.elements({**program.constants, **case.sizes}, told_device.MAX_SCRATCH)
        scratch = {name: [program.scratch[name][0], count] for name, count in elements.items()}
        self.process: Process = sandbox.subject(told_device.LAUNCHER).fresh()
        try:
            self.process.call("load", codes, told, returns=Json())
            self.process.call("keep", case.keys, case.values, scratch, list(case.query.shape), returns=Json())
        except BaseException:
            self.close()
            raise

    def __call__(self, case: Case) -> Frame:
        """One timed step."""
        returns = Arrays(max_count=3, max_bytes=64 << 20, max_dims=4)
        salt = secrets.randbelow(1 << 31)
        frame: Frame = self.process.call("step", case.query, case.ids, case.log_prob, salt, returns=returns)
        return frame

    def close(self) -> None:
        """End its process."""
        self.process.__exit__(None, None, None)


def by_its_events(call: Callable[[], Frame]) -> tuple[Frame, float]:
    """A `Timer` by the device's events in a launcher's process, which its clock must bear out."""
    frame = call()
    seconds, wall = (float(one) for one in frame["seconds"])
    if not 0 < seconds <= wall <= seconds + LAG_S:
        raise CandidateFault("wrong", f"the device's events say {seconds:.3g} s, the clock {wall:.3g} s")
    return frame, seconds


def check(case: Case, frame: Frame) -> str:
    """What is wrong with an answer, or ""."""
    if frame["out"].shape != case.query.shape or not frame["intact"].all():
        return "an input was written to, or the answer has another shape"
    worst = float(run.errors(frame["out"], case).max())
    return "" if worst <= TOLERANCE else f"relative error {worst:.2e}, at most {TOLERANCE:.0e}"


@dataclass(frozen=True)
class Contest:
    """What was found about several candidates.

    Attributes:
        timings: by candidate.
        floor_us: what the bytes of the case allow; None where the memory's rate is not known.
        conditions: under which they were timed.
    """

    timings: dict[str, Timing]
    floor_us: float | None
    conditions: dict[str, str]


def measure(device: Device, case: Case, programs: Mapping[str, Candidate], rounds: int, key: Seed) -> Contest:
    """Time candidates in turn on one case, each call on other queries, ids and probabilities.

    Raises:
        SandboxUnavailable: there is no compiler.
    """
    if device.compiler is None:
        raise SandboxUnavailable("Kernels cannot be timed: no compiler was given.")
    faults: dict[str, Timing] = {}
    contestants: dict[str, Contestant] = {}
    first, meant = case.floor, np.count_nonzero(case.ids >= 0)
    with contextlib.ExitStack() as held:
        compiler = held.enter_context(device.compiler())
        held.enter_context(device.alone())
        sandbox, roofline = held.enter_context(device.on_device()), device.roofline()
        known = roofline.rate > 0
        for name, program in programs.items():
            try:
                contestants[name] = one = Contestant(sandbox, compiler, program, case, device.capability)
                held.callback(one.close)
            except CandidateFault as fault:
                faults[name] = Timing(name, (), (f"{fault.status}: {fault.feedback}"[:1000],))
        found = time_in_turn(
            contestants,
            lambda number: workload.again(case, key.derive("question", number)),
            check,
            rounds=rounds,
            quiet=device.quiet,
            # Counting the sectors of a case takes longer than timing it; but for padding all are alike.
            bytes_moved=lambda asked, _: first * np.count_nonzero(asked.ids >= 0) / meant,
            roofline=roofline if known else None,
            timer=by_its_events,
            end=lambda name: contestants[name].close(),
        )
        floor = roofline.floor_s(first) * MICRO if known else None
        return Contest(found | faults, floor, dict(device.conditions()))


def ground(device: Device, key: Seed) -> KernelGround:
    """The declared case."""
    return KernelGround(device, key)


class KernelGround:
    """One case, and who asks about it.

    Args:
        device: on which candidates run.
        key: what the case and its questions follow from.
        shape: B, H, G, n, m.
        width: d.
        rounds: timed calls of each.
    """

    def __init__(
        self,
        device: Device,
        key: Seed,
        shape: tuple[int, int, int, int, int] = SHAPE,
        width: int = WIDTH,
        rounds: int = ROUNDS,
    ) -> None:
        self._device, self._key, self._rounds = device, key, rounds
        self._case = workload.draw(shape, key.derive("case"), width)
        self._asked = 0

    def close(self) -> None:
        """Nothing stays open."""

    def measure(self, candidate: Candidate, incumbent: Candidate) -> Measurement:
        """Time both in turn."""
        programs = {"candidate": candidate, "incumbent": incumbent}
        self._asked += 1
        contest = measure(self._device, self._case, programs, self._rounds, self._key.derive("contest", self._asked))
        timings = contest.timings
        label = f"{self._case.label} d={self._case.query.shape[3]}"
        found = {
            name: Timed(
                program=programs[name].id,
                label=label,
                latency_us=spanned(timing.seconds, 1),
                calls=len(timing.seconds),
                mode="launches one by one, by the device's events",
                floor_us=contest.floor_us,
                faults=timing.faults,
                suspect=timing.suspect,
            )
            for name, timing in timings.items()
        }
        both = ratio(timings["candidate"].seconds, timings["incumbent"].seconds)
        return Measurement(
            problem=problem.name,
            version=latency.VERSION,
            protocol=latency.protocol(),
            workload=f"one step of attention over chosen tokens, {label}",
            candidate=(found["candidate"],),
            incumbent=(found["incumbent"],),
            ratios={label: both} if both and all(one.counts for one in found.values()) else {},
            conditions=contest.conditions,
        )
