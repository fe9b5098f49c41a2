"""Latency as `eval` has it: whether it is measured, beside what, and how it looks."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vevolve.evaluators.contract import Problem
    from vevolve.evaluators.latency import Measurement, Timed
    from vevolve.types import Candidate


CONDITIONS = {
    "name": "{}",
    "clocks.sm": "SM at {}",
    "clocks.mem": "memory at {}",
    "read_tb_s": "which reads {} TB/s",
    "driver_version": "driver {}",
    "cuda": "CUDA {}",
    "torch": "torch {}",
    "triton": "Triton {}",
    "others": "other processes on it: {}",
}
"""The conditions that people are told, and how. JSON has all."""


@dataclass(frozen=True)
class Watch:
    """Times a program, where that can be done.

    Attributes:
        problem: what the program is for.
        incumbent: what it is timed beside.
        beside: how that is called.
        absent: why nothing is timed; "" where it is.
        told: whether a reader is to be told why.
        demanded: whether a time was asked for, so that it is an error where there is none.
        allow_degraded: go on where the sandbox is below its minimum level.
    """

    problem: Problem
    incumbent: Candidate | None = None
    beside: str = ""
    absent: str = ""
    told: bool = True
    demanded: bool = False
    allow_degraded: bool = False

    def __call__(self, program: Candidate) -> Measurement | str:
        """Time it. Returns why not, where that cannot be done and was not demanded."""
        if self.absent or self.incumbent is None:
            return self.absent
        from vevolve.errors import SandboxUnavailable
        from vevolve.evaluators.latency import ground
        from vevolve.evolve import stopwatch

        try:
            device = stopwatch.gpu(allow_degraded=self.allow_degraded, waiting=_wait)
            with contextlib.closing(ground(self.problem, device)) as opened:
                return opened.measure(program, self.incumbent)
        except SandboxUnavailable as error:
            if self.demanded:
                raise
            return str(error).removeprefix("Latency cannot be measured: ").rstrip(".")


def prepare(problem: Problem, wanted: bool | None, against: str | None, allow_degraded: bool) -> Watch:
    """See whether programs of a problem can be timed here, before anything is examined.

    Args:
        problem: what they are for.
        wanted: True: refuse where they cannot; False: do not; None: where they can.
        against: the incumbent; None: the problem's default seed.
        allow_degraded: go on where the sandbox is below its minimum level.

    Raises:
        BadInput: latency is asked for, and the problem has none.
        SandboxUnavailable: latency is asked for, and there is no GPU.
        UnknownName: no such incumbent.
    """
    from vevolve.errors import BadInput, SandboxUnavailable
    from vevolve.evaluators.latency import objectives
    from vevolve.evaluators.programs import read_program
    from vevolve.evolve import stopwatch
    from vevolve.evolve.setup import locate

    asked = wanted or (against is not None and wanted is None)
    if wanted is False:
        if against is not None:
            raise BadInput("--against names what a program is timed beside; leave out --no-latency.")
        return Watch(problem, absent="switched off", told=False)
    if not objectives(problem):
        if asked:
            raise BadInput(f"Programs of {problem.name} cannot be timed: the problem has no latency stage.")
        return Watch(problem, absent="the problem has no latency stage", told=False)
    absent = stopwatch.absent()
    if absent and asked:
        raise SandboxUnavailable(f"Latency cannot be measured: {absent}. Leave out --latency and --against.")
    if absent:
        return Watch(problem, absent=absent)
    name = problem.name if problem.folder.name == problem.name else str(problem.folder)
    place = locate(against or problem.default_seed, name)
    incumbent = read_program(place.program)
    return Watch(problem, incumbent, place.name, demanded=bool(asked), allow_degraded=allow_degraded)


def say(found: Measurement | str, watch: Watch) -> None:
    """A measurement for people, or one line on why there is none."""
    from vevolve.evolve.cli import render

    if isinstance(found, str):
        if watch.told:
            render.say(f"latency: not measured, {render.line(found, 300)}")
        return
    beside = render.line(watch.beside)
    for own, other in zip(found.candidate, found.incumbent, strict=True):
        ratio = found.ratios.get(own.label)
        render.say(f"latency at {own.label}: {_time(own)}" + (f", {ratio} times {beside}'s" if ratio else ""))
        render.say(f"  {_worth(own)}")
        render.say(f"  {beside}: {_time(other)}" + ("" if other.problem else f", {_worth(other)}"))
    empty = "" if found.overhead_us is None else f"; {found.overhead_us:.3g} us of a step are an empty call's"
    render.say(f"  on {found.workload}{empty}")
    render.say(f"  {_conditions(found)}")


def to_json(found: Measurement | str, watch: Watch) -> dict[str, Any]:
    """What the JSON of a verdict gets, where the problem's programs can be timed: a measurement, or why it is none."""
    if isinstance(found, str):
        return {"latency": None, "latency_absent": found} if watch.told else {}
    return {"latency": found.model_dump(mode="json"), "latency_absent": None}


def _time(one: Timed) -> str:
    """A time with its interval, or what is wrong with it."""
    from vevolve.evolve.cli import render

    time = f"{one.latency_us} us" if one.latency_us else "no time"
    return f"{time}; DOES NOT COUNT: {render.line(one.problem, 600)}" if one.problem else time


def _worth(one: Timed) -> str:
    """What the timed answers were worth, how many there were, and how they were launched."""
    from vevolve.evolve.cli import render

    figures = [f"{name} {value:.4g}" for name, value in one.figures.items()]
    return ", ".join([*figures, f"{one.calls} calls", *([render.line(one.mode, 200)] if one.mode else [])])


def _conditions(found: Measurement) -> str:
    """What the times depend on, in a line."""
    from vevolve.evolve.cli import render

    told = [form.format(value) for key, form in CONDITIONS.items() if (value := found.conditions.get(key))]
    return render.line(", ".join([*told, f"protocol {found.version} ({found.protocol[:12]})"]), 400)


def _wait(words: str) -> None:
    sys.stderr.write(f"{words}\n")
