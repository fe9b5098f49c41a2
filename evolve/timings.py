"""What a run has still to time: a fold of its log. Times join the archive when they are there, and decide nothing.

A candidate that was promoted is timed beside the seed; the seed, once it is promoted, beside itself. No question, no
promotion and no comparison looks at what is found, so that a run stays independent of timing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

from vevolve.archive.events import Event, Measured, Selected
from vevolve.evaluators.latency import Measurement
from vevolve.evolve.programs import Programs
from vevolve.evolve.propose import bare
from vevolve.evolve.threads import Threads
from vevolve.evolve.timekeeper import Timekeeper
from vevolve.types import Candidate

Expect: TypeAlias = Callable[
    [Future[Measurement], Callable[[Measurement], None], Callable[[BaseException], None]], None
]


class Due:
    """Who was promoted and not timed since: candidate -> its iteration."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}

    def take(self, event: Event) -> None:
        """Take in the next event of the log."""
        if isinstance(event, Selected) and event.promoted:
            self.waiting[event.candidate] = event.iteration
        elif isinstance(event, Selected | Measured):
            self.waiting.pop(event.candidate, None)


class Timings:
    """What is on its way to the points on the GPU, one program at a time.

    Args:
        timekeeper: times programs; None: nothing is timed.
        seed: what they are timed beside.
        programs: the candidates.
        expect: goes on with a result, in the thread of the loop.
        failed: told of an iteration whose timing broke the harness.
        ending: whether nothing new is to be begun.
    """

    def __init__(
        self,
        timekeeper: Timekeeper | None,
        seed: Candidate,
        programs: Programs,
        expect: Expect,
        failed: Callable[[int, BaseException], None],
        ending: Callable[[], bool],
    ) -> None:
        self._timekeeper, self._seed, self._programs = timekeeper, seed, programs
        self._expect, self._failed, self._ending = expect, failed, ending
        self._due = Due()
        self._busy = False
        self._found: list[Measured] = []
        self._thread = Threads(1, "time")

    def __len__(self) -> int:
        """How many are waited for: those that are timed, and where a run is not to end soon, those that wait."""
        if self._timekeeper is None:
            return 0
        return self._busy + len(self._found) if self._ending() else len(self._due.waiting)

    def take(self, event: Event) -> None:
        """Take in the next event of the log."""
        self._due.take(event)

    def begin(self) -> None:
        """Time the first of those that wait, unless another is timed."""
        if self._timekeeper is None or self._busy or self._found or not self._due.waiting or self._ending():
            return
        id, iteration = next(iter(self._due.waiting.items()))
        timekeeper, candidate, seed = self._timekeeper, bare(self._programs.named(id).candidate), bare(self._seed)
        self._busy = True

        def arrived(found: Measurement) -> None:
            self._busy = False
            self._found.append(_measured(iteration, id, seed.id, found))

        def broke(error: BaseException) -> None:
            self._busy = False
            self._failed(iteration, error)

        self._expect(self._thread.submit(lambda: timekeeper.time(candidate, seed)), arrived, broke)

    def finished(self) -> list[Measured]:
        """What was found since this was last called."""
        found, self._found = self._found, []
        return found

    def close(self) -> None:
        """End what is timed."""
        self._thread.close()


def _measured(iteration: int, candidate: str, incumbent: str, found: Measurement) -> Measured:
    return Measured(
        iteration=iteration,
        candidate=candidate,
        incumbent=incumbent,
        points=found.points(),
        feedback="\n".join(_line(found, place) for place in range(len(found.candidate))),
        report=found.model_dump(mode="json"),
    )


def _line(found: Measurement, place: int) -> str:
    """One operating point in a sentence."""
    one = found.candidate[place]
    if not one.counts:
        return f"latency at {one.label} does not count: {one.problem}"
    ratio = found.ratios.get(one.label)
    other = found.incumbent[place].problem
    beside = f"{ratio} times the seed's" if ratio else f"the seed's does not count: {other}"
    return f"latency at {one.label}: {one.latency_us} us, {beside}; {one.mode}"
