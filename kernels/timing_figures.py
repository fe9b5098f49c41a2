"""Figures of a measurement: medians with bootstrap intervals, and the roofline below which no time is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap confidence interval."""

    low: float
    middle: float
    high: float


def median_interval(
    samples: Sequence[float], confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The median of independent samples, with its percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    Raises:
        ValueError: no samples, or one that is not a finite number.
    """
    values = _finite(samples)
    chosen = np.random.default_rng(seed).integers(0, values.size, (resamples, values.size))
    return _interval(np.median(values[chosen], axis=1), float(np.median(values)), confidence)


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The ratio of two medians whose samples were taken in pairs, one of each in a round.

    Rounds are resampled whole, so that what disturbed both does not count twice.

    Raises:
        ValueError: sequences of different lengths, empty, or with values that are not positive and finite.
    """
    above, below = _finite(numerators), _finite(denominators)
    if above.shape != below.shape or min(above.min(), below.min()) <= 0:
        raise ValueError(f"expected pairs of positive times, got {above.size} and {below.size} values")
    chosen = np.random.default_rng(seed).integers(0, above.size, (resamples, above.size))
    ratios = np.median(above[chosen], axis=1) / np.median(below[chosen], axis=1)
    return _interval(ratios, float(np.median(above) / np.median(below)), confidence)


def _interval(draws: np.ndarray[Any, Any], middle: float, confidence: float) -> Interval:
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(low), middle, float(high))


def _finite(samples: Sequence[float]) -> np.ndarray[Any, Any]:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"expected at least one finite sample, got {list(samples)[:4]}")
    return values


@dataclass(frozen=True)
class Roofline:
    """What no program can beat: the bytes that it must move, at the highest rate at which the memory gives them.

    Attributes:
        measured: bytes per second of a kernel that only reads. That of a copy is too low for a floor.
        data_sheet: bytes per second that the maker names.
        launch_s: seconds of an empty call on the same path; 0 where it is not known.
    """

    measured: float
    data_sheet: float
    launch_s: float = 0.0

    @property
    def rate(self) -> float:
        """The higher of the two, bytes per second; 0 where none is known."""
        return max(self.measured, self.data_sheet)

    def floor_s(self, bytes_moved: float) -> float:
        """Seconds below which a time of a call that moves these bytes is not believed.

        Raises:
            ValueError: no rate is known, or bytes below zero.
        """
        rate = self.rate
        if not rate > 0 or bytes_moved < 0:
            raise ValueError(
                f"expected a positive rate and bytes of at least 0, got {rate:g} B/s and {bytes_moved:g} B"
            )
        return max(bytes_moved / rate, self.launch_s)
