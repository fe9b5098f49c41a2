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
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    floors: dict[str, list[float]] = {name: [] for name in contestants}
    faults: dict[str, list[str]] = {name: [] for name in contestants}
    calm = float(np.median([quiet() for _ in range(9)])) if quiet else 0.0
    slow = dict.fromkeys(contestants, 0)
    number, last = 0, ""
    for turn in range(warm_up + rounds):
        for name in order.sample(list(contestants), len(contestants)):
            if faults[name]:
                continue
            question, number = fresh(number), number + 1
            if quiet and _is_busy(quiet, calm) and last:
                # Whoever is about to be asked has no part in it.
                faults[last].append(f"before call {number}: work was left running after the answer")
                _retire(last, end, quiet, calm)
                if last == name:
                    continue
            last = name
            try:
                answer, took = timer(functools.partial(contestants[name], question))
            except Exception as error:
                faults[name].append(f"call {number}: {type(error).__name__}: {error}"[:500])
                _retire(name, end, quiet, calm)
                continue
            if quiet and quiet() > BUSY * calm:
                slow[name] += 1
                if _is_shared(quiet, calm):
                    faults[name].append(f"call {number}: work was left running after the answer")
            if wrong := check(question, answer):
                faults[name].append(f"call {number}: {wrong}")
            if faults[name]:
                _retire(name, end, quiet, calm)
            elif turn >= warm_up:
                seconds[name].append(took)
                if roofline and bytes_moved:
                    floors[name].append(roofline.floor_s(bytes_moved(question, answer)))
    for name, times in slow.items():
        if times > (warm_up + rounds) / 2 and not faults[name]:
            faults[name].append(f"the device was at work after {times} of {warm_up + rounds} answers")
    return {
        name: Timing(
            name,
            tuple(seconds[name]),
            tuple(faults[name]),
            _suspicion(seconds[name], floors[name]),
            dict(conditions or {}),
        )
        for name in contestants
    }


def _is_busy(quiet: Callable[[], float], calm: float) -> bool:
    """Whether the device works for somebody else. A single slow probe may have been held up by the host."""
    return quiet() > BUSY * calm and _is_shared(quiet, calm)


def _is_shared(quiet: Callable[[], float], calm: float) -> bool:
    return sum(quiet() for _ in range(PROBES)) > SHARED * PROBES * calm


def _retire(
    name: str,
    end: Callable[[str], object] | None,
    quiet: Callable[[], float] | None,
    calm: float,
    within_s: float = 10.0,
) -> None:
    """End a contestant and wait until nothing of it is left running."""
    if end:
        end(name)
    until = time.monotonic() + within_s
    while quiet and _is_shared(quiet, calm) and time.monotonic() < until:
        pass


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
