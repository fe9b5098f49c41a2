"""Times that nobody can fake: the protocol of a measurement, for any device.

The rules, each against a trick that has been played on benchmarks of kernels:

- The clock belongs to the process that asks, and stops when the answer is in its memory.
- Every call gets a fresh question; every answer of a timed call is verified, not one of them.
- Outputs are poisoned before a call (`timing_poison`), so that what was not written shows.
- Between calls caches are flushed, and a probe of ours shows whether work was left running.
- The contestants are asked in turn, in an order that they cannot foresee, the same number of times.
- What counts is the median with its bootstrap interval; a time below what the bytes allow is suspect and never best
  (`timing_figures`).

What a device is, and how it is flushed and held, stands in `timing_device`.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from vevolve.kernels.timing_figures import Interval, Roofline, median_interval

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Timer = Callable[[Callable[[], Answer]], tuple[Answer, float]]
"""Makes a call, and returns its answer and the seconds that it took."""

BUSY = 3.0
"""A probe that takes this many times its quiet median found the device at work."""
PROBES, SHARED = 100, 1.3
"""A slow probe is confirmed by this many without a pause, which span several of the slices of time that a device gives
to each process: alone they take their quiet time, beside other work about twice that."""

RETIRED_S = 10.0
"""In which nothing is left running of a process that was ended."""


def by_the_wall(call: Callable[[], Answer]) -> tuple[Answer, float]:
    """A `Timer` by this process's clock."""
    started = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - started


@dataclass(frozen=True)
class Timing:
    """What was found about one contestant.

    Attributes:
        name: the contestant's.
        seconds: of each timed call, in the order of the rounds.
        faults: what was wrong, a line each; a contestant with faults has no time that counts.
        suspect: why the time is not believed; "" where it is.
        conditions: of the measurement, such as GPU, clocks and versions.
    """

    name: str
    seconds: tuple[float, ...]
    faults: tuple[str, ...] = ()
    suspect: str = ""
    conditions: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def counts(self) -> bool:
        """Whether this time may be ranked, and be best."""
        return bool(self.seconds) and not self.faults and not self.suspect

    @property
    def median(self) -> Interval:
        """Seconds. Raises ValueError where nothing was timed."""
        return median_interval(self.seconds)


def time_in_turn(
    contestants: Mapping[str, Callable[[Question], Answer]],
    fresh: Callable[[int], Question],
    check: Callable[[Question, Answer], str],
    *,
    rounds: int,
    warm_up: int = 3,
    quiet: Callable[[], float] | None = None,
    bytes_moved: Callable[[Question, Answer], float] | None = None,
    roofline: Roofline | None = None,
    timer: Timer[Answer] = by_the_wall,
    end: Callable[[str], object] | None = None,
    conditions: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> dict[str, Timing]:
    """Ask all contestants the same number of times, each time something new, and verify all that was timed.

    Args:
        contestants: by name; a call returns when the whole answer is in this process's memory.
        fresh: makes the question of a call; its argument counts calls of all contestants and never repeats.
        check: verifies an answer; returns what is wrong, or "".
        rounds: timed calls of each.
        warm_up: calls of each before, verified and not timed. Fixed, since an adaptive number can be gamed.
        quiet: before each call: flushes caches, and returns how long a fixed piece of our own work took. A call after
            which that takes much longer has left work running.
        bytes_moved: what a call must have moved at the least. With `roofline`, a median below the floor is suspect.
        timer: takes the time of a call, on this side.
        end: ends a contestant that is at fault, so that it disturbs no other.
        conditions: recorded with every timing.
        seed: of the order; secret unless given.

    Returns:
        A timing for each contestant. One that raised or failed a check is not asked again.

    Raises:
        ValueError: fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"expected at least 1 round, got {rounds}")
    order = random.Random(seed) if seed is not None else random.SystemRandom()
    calm = float(np.median([quiet() for _ in range(9)])) if quiet else 0.0
    device = _Device(quiet, calm, end)
    records = {name: _Record() for name in contestants}
    number, last = 0, ""
    for turn in range(warm_up + rounds):
        for name in order.sample(list(contestants), len(contestants)):
            if records[name].faults:
                continue
            question, number = fresh(number), number + 1
            if device.is_busy() and last:
                # Whoever is about to be asked has no part in it.
                records[last].faults.append(f"before call {number}: work was left running after the answer")
                records[last].faults += device.retire(last)
                if last == name:
                    continue
            last, record = name, records[name]
            try:
                answer, took = timer(functools.partial(contestants[name], question))
            except Exception as error:
                record.faults.append(f"call {number}: {type(error).__name__}: {error}"[:500])
                record.faults += device.retire(name)
                continue
            if device.is_slow():
                record.slow += 1
                if device.is_shared():
                    record.faults.append(f"call {number}: work was left running after the answer")
            if wrong := check(question, answer):
                record.faults.append(f"call {number}: {wrong}")
            if record.faults:
                record.faults += device.retire(name)
            elif turn >= warm_up:
                record.seconds.append(took)
                if roofline and bytes_moved:
                    record.floors.append(roofline.floor_s(bytes_moved(question, answer)))
    return {name: record.timing(name, warm_up + rounds, conditions or {}) for name, record in records.items()}


@dataclass
class _Record:
    """What has been found about a contestant so far: its times, what its bytes allow, faults, and slow probes after."""

    seconds: list[float] = field(default_factory=list[float])
    floors: list[float] = field(default_factory=list[float])
    faults: list[str] = field(default_factory=list[str])
    slow: int = 0

    def timing(self, name: str, calls: int, conditions: Mapping[str, str]) -> Timing:
        if self.slow > calls / 2 and not self.faults:
            self.faults.append(f"the device was at work after {self.slow} of {calls} answers")
        suspect = _suspicion(self.seconds, self.floors)
        return Timing(name, tuple(self.seconds), tuple(self.faults), suspect, dict(conditions))


@dataclass(frozen=True)
class _Device:
    """Whether the device works for somebody else, by a probe that takes `calm` when it does not; never, without one."""

    quiet: Callable[[], float] | None
    calm: float
    end: Callable[[str], object] | None

    def is_slow(self) -> bool:
        """Whether one probe was. The host may have held it up."""
        return self.quiet is not None and self.quiet() > BUSY * self.calm

    def is_shared(self) -> bool:
        return self.quiet is not None and sum(self.quiet() for _ in range(PROBES)) > SHARED * PROBES * self.calm

    def is_busy(self) -> bool:
        return self.is_slow() and self.is_shared()

    def retire(self, name: str) -> list[str]:
        """End a contestant and wait until nothing of it is left running. Returns what is wrong where work goes on."""
        if self.end:
            self.end(name)
        until = time.monotonic() + RETIRED_S
        while self.is_shared():
            if time.monotonic() > until:
                return ["the device was at work after its process had ended too: another program may be using it"]
        return []


def _suspicion(seconds: Sequence[float], floors: Sequence[float]) -> str:
    if not seconds or not floors:
        return ""
    median, floor = float(np.median(seconds)), float(np.median(floors))
    if median >= floor:
        return ""
    return f"a median of {median * 1e6:.2f} us is below the floor of {floor * 1e6:.2f} us that its bytes allow"


def same_point(
    promised: Mapping[str, float],
    timed: Mapping[str, float],
    direction: Mapping[str, Literal["min", "max"]],
    slack: float = 0.02,
) -> str:
    """Whether the answers that were timed are worth what the metered ones were: a candidate that does less, or reads
    less, where it is timed gains nothing.

    Args:
        promised: the operating point's objectives as metered, such as error and traffic.
        timed: the same, recomputed by the trusted side from the answers of the timed calls.
        direction: of each objective.
        slack: relative difference that arithmetic on another device explains.

    Returns:
        "" where none is worse; else what is.
    """
    worse: list[str] = []
    for name, way in direction.items():
        before, now = promised[name], timed[name]
        allowed = before + slack * abs(before) * (1 if way == "min" else -1)
        # Not "now > allowed", which a NaN would pass.
        if not (now <= allowed if way == "min" else now >= allowed):
            worse.append(f"{name} {now:.4g} where it was timed, {before:.4g} where it was metered")
    return f"another operating point: {'; '.join(worse)}" if worse else ""
