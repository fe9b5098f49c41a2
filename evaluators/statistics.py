"""Upper confidence limits for violation rates, valid at any number of documents.

The unit of independence is a document: heads, layers and steps cluster inside it. So each document is one draw, and
its share of violating units is one number in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize, stats  # type: ignore[import-untyped]


def clopper_pearson_upper(successes: int, trials: int, confidence: float = 0.95) -> float:
    """The exact one-sided upper limit of a binomial rate (Clopper and Pearson 1934).

    Raises:
        ValueError: counts that do not fit each other, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"expected 0 <= successes <= trials and trials >= 1, got {successes} of {trials}")
    if successes == trials:
        return 1.0
    return float(stats.beta.ppf(confidence, successes + 1, trials - successes))


def hoeffding_bentkus_upper(rates: Sequence[float], confidence: float = 0.95) -> float:
    """An upper limit of the mean of independent draws in [0, 1], whatever their distribution.

    It inverts the smaller of two p-values for "the mean is p" (Bates et al. 2021, arXiv 2101.02703, section 3.1):
    Hoeffding's exp(-n KL(mean, p)) and Bentkus' e P(Binomial(n, p) <= ceil(n mean)). Where no document violates at
    all, it equals the Clopper-Pearson limit 1 - (1 - confidence)^(1/n).

    Raises:
        ValueError: no draws, draws outside [0, 1], or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    draws = np.asarray(rates, dtype=np.float64)
    if draws.ndim != 1 or not draws.size or not ((draws >= 0) & (draws <= 1)).all():
        raise ValueError(f"expected at least one rate in [0, 1], got {list(rates)}")
    mean, count, level = float(draws.mean()), int(draws.size), 1 - confidence
    # Rounding must not lift a sum that is whole, such as 0.1 * 3 + 0.7, to the next integer.
    whole = math.ceil(draws.sum() - 1e-9)
    hoeffding = _largest(lambda p: -count * _divergence(mean, p) - math.log(level), mean)
    bentkus = _largest(lambda p: 1 + float(stats.binom.logcdf(whole, count, p)) - math.log(level), mean)
    return min(hoeffding, bentkus)


def _divergence(mean: float, p: float) -> float:
    """KL divergence of Bernoulli(mean) from Bernoulli(p), in nats."""
    left = mean * math.log(mean / p) if mean > 0 else 0.0
    right = (1 - mean) * math.log((1 - mean) / (1 - p)) if mean < 1 else 0.0
    return left + right


def _largest(surplus: Callable[[float], float], low: float) -> float:
    """The largest p that is not rejected: where a decreasing function of p in (low, 1) crosses zero."""
    start, end = max(low, 1e-12), 1 - 1e-12
    if start >= end or surplus(end) >= 0:
        return 1.0
    if surplus(start) <= 0:
        return start
    return float(optimize.brentq(surplus, start, end, xtol=1e-10))  # pyright: ignore[reportArgumentType]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence in (0, 1), got {confidence}")
