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


@dataclass(frozen=True)
class Watch:
    """Times a program, where that can be done.

    Attributes:
        problem: what the program is for.
        incumbent: what it is timed beside.
        beside: how that is called.
        absent: why nothing is timed; "" where it is.
        told: whether a reader is to be told why.
        allow_degraded: go on where the sandbox is below its minimum level.
    """

    problem: Problem
    incumbent: Candidate | None
    beside: str
    absent: str
    told: bool
    allow_degraded: bool

    def __call__(self, program: Candidate) -> Measurement | None:
        """Time it. None where that cannot be done."""
        if self.absent or self.incumbent is None:
            return None
        from vevolve.evaluators.latency import ground
        from vevolve.evolve import stopwatch

        device = stopwatch.gpu(allow_degraded=self.allow_degraded, waiting=_wait)
        with contextlib.closing(ground(self.problem, device)) as opened:
            return opened.measure(program, self.incumbent)


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
        return Watch(problem, None, "", "switched off", False, allow_degraded)
    if not objectives(problem):
        if asked:
            raise BadInput(f"Programs of {problem.name} cannot be timed: the problem has no latency stage.")
        return Watch(problem, None, "", "the problem has no latency stage", False, allow_degraded)
    absent = stopwatch.absent()
    if absent and asked:
        raise SandboxUnavailable(f"Latency cannot be measured: {absent}. Leave out --latency and --against.")
    if absent:
        return Watch(problem, None, "", absent, True, allow_degraded)
    name = problem.name if problem.folder.name == problem.name else str(problem.folder)
    place = locate(against or problem.default_seed, name)
    return Watch(problem, read_program(place.program), place.name, "", True, allow_degraded)


def say(found: Measurement | None, watch: Watch) -> None:
    """A measurement for people, or one line on why there is none."""
    from vevolve.evolve.cli import render

    if found is None:
        if watch.told:
            render.say(f"latency: not measured, {watch.absent}")
        return
    for own, other in zip(found.candidate, found.incumbent, strict=True):
        render.say(f"latency at {own.label}: {_told(own)}")
        ratio = found.ratios.get(own.label)
        beside = f", {ratio} times that" if ratio else ""
        render.say(f"  beside {render.line(watch.beside)}: {_told(other)}{beside}")
    overhead = "" if found.overhead_us is None else f"; an empty call's share is {found.overhead_us:.3g} us"
    render.say(f"  {found.workload}{overhead}")
    render.say(f"  protocol {found.version} ({found.protocol[:12]}); " + _conditions(found))


def to_json(found: Measurement | None, watch: Watch) -> dict[str, Any]:
    """What the JSON of a verdict gets, where the problem's programs can be timed: a measurement, or why it is none."""
    if found is None and not watch.told:
        return {}
    return {"latency": found.model_dump(mode="json") if found else None, "latency_absent": watch.absent or None}


def _told(one: Timed) -> str:
    """A time with its interval, what the answers were worth, and what is wrong with it."""
    from vevolve.evolve.cli import render

    time = f"{one.latency_us} us over {one.calls} calls" if one.latency_us else "no time"
    worth = "".join(f", {name} {value:.4g}" for name, value in one.figures.items())
    mode = f", {render.line(one.mode, 200)}" if one.mode else ""
    wrong = f"; DOES NOT COUNT: {render.line(one.problem, 600)}" if one.problem else ""
    return f"{time}{worth}{mode}{wrong}"


def _conditions(found: Measurement) -> str:
    from vevolve.evolve.cli import render

    return render.line(", ".join(f"{name} {value}" for name, value in found.conditions.items()), 600)


def _wait(words: str) -> None:
    sys.stderr.write(f"{words}\n")
