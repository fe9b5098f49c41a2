"""What a measurement found: times with their intervals, what the timed answers were worth, faults and conditions."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from vevolve.kernels.timing_figures import Interval, median_interval, ratio_interval
from vevolve.types import Point, Value

FAMILY = "GPU"
"""The family of points that were timed: on the workload of the protocol, and ranked by its objectives."""
MICRO = 1e6


class Span(Value):
    """A figure with its 95 % bootstrap interval."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, interval: Interval, scale: float = 1.0) -> Span:
        """From an interval in another unit."""
        return cls(low=scale * interval.low, middle=scale * interval.middle, high=scale * interval.high)

    def __str__(self) -> str:
        return f"{self.middle:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Timed(Value):
    """One program at one operating point.

    Attributes:
        program: its id.
        label: the operating point.
        latency_us: microseconds of one step; None where nothing was timed.
        calls: timed calls behind it.
        figures: what the timed answers were worth, such as error and traffic, by objective.
        mode: how the step was launched: in a CUDA graph, or eagerly and why.
        floor_us: what its bytes allow.
        faults: what was wrong with it, a line each.
        suspect: why the time is not believed; "" where it is.
    """

    program: str
    label: str
    latency_us: Span | None = None
    calls: int = 0
    figures: dict[str, float] = Field(default_factory=dict[str, float])
    mode: str = ""
    floor_us: float | None = None
    faults: tuple[str, ...] = ()
    suspect: str = ""

    @property
    def counts(self) -> bool:
        """Whether the time may be ranked, and be best."""
        return self.latency_us is not None and not self.faults and not self.suspect

    @property
    def problem(self) -> str:
        """Why it does not count; "" where it does."""
        return "; ".join(self.faults) or (f"SUSPECT: {self.suspect}" if self.suspect else "")


class Measurement(Value):
    """A candidate beside an incumbent on one device.

    Attributes:
        problem: what they are programs for.
        version: of the protocol.
        protocol: its hash.
        workload: what was asked, in words.
        candidate: by operating point.
        incumbent: likewise, in the same order.
        ratios: label -> the candidate's latency over the incumbent's, rounds resampled in pairs, where both count.
        overhead_us: the share of an empty call in a step; in the times, and not subtracted. None: not in them.
        conditions: GPU, clocks, driver and versions.
    """

    problem: str
    version: int
    protocol: str
    workload: str
    candidate: tuple[Timed, ...]
    incumbent: tuple[Timed, ...]
    ratios: dict[str, Span] = Field(default_factory=dict[str, Span])
    overhead_us: float | None = None
    conditions: dict[str, str] = Field(default_factory=dict[str, str])

    def points(self) -> tuple[Point, ...]:
        """The candidate's operating points that count."""
        return tuple(
            Point(label=one.label, split="select", family=FAMILY, **one.figures, latency_us=one.latency_us.middle)
            for one in self.candidate
            if one.counts and one.latency_us is not None
        )


def latency(seconds: Sequence[float], steps: int) -> Span | None:
    """Microseconds of one step, from the seconds of calls of so many; None without calls."""
    return Span.of(median_interval(seconds), MICRO / steps) if seconds else None


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Span | None:
    """How the medians of times that were taken in pairs relate; None where one of each is missing."""
    if not ours or len(ours) != len(theirs):
        return None
    return Span.of(ratio_interval(ours, theirs))
