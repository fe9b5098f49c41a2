"""Confidence sequences for the mean of draws in [0, 1], by betting: valid at every number of draws at once.

Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 2024, arXiv 2010.09686).
A gambler who holds that the mean is below m stakes the share c of the most that the hypothesis "the mean is m" lets
him stake on a small draw. His capital after draws x_1 ... x_t is

    K_t(m, c) = prod over i of ((1 - c) + c (1 - x_i) / (1 - m)).

If the mean of every draw, given those before, is m, a factor has mean 1; by Ville's inequality the capital ever
reaches 1 / alpha with probability at most alpha. A mixture over fixed c is a capital too. A factor grows with m
whatever x and c, so a true mean above m makes the capital no larger than at the true mean: the test holds for all
means of m or more, and the means that are not rejected are an interval from 0 on. The best c for draws of 0 and 1 with
mean p is 1 - p / m, so a grid of c from 0 to 1 suits every p below m; c = 1 gets half of the weight, since a method
with no failures at all is the one that is most worth certifying soon.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STAKES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""The shares c of the largest stake."""
WEIGHTS = (0.5, *(0.05,) * 10)
"""How the first capital of 1 is spread over them."""
_HALVINGS = 40


def log_capital(draws: Floats, mean: Floats | float) -> Floats:
    """The logarithm of the capital against "the mean is `mean` or more", after each draw.

    Args:
        draws: in [0, 1], [n, ...]: along the first axis one after another, side by side along the others.
        mean: in (0, 1), of the shape of one draw or a number.

    Returns:
        [n, ...]; its exponential is an e-process.
    """
    bets = np.array(STAKES).reshape(-1, *(1,) * draws.ndim)
    weights = np.array(WEIGHTS).reshape(bets.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log((1 - bets) + bets * (1 - draws) / (1 - np.asarray(mean))).cumsum(axis=1)
        peak = np.maximum(logs.max(axis=0), -1e300)
        capital: Floats = peak + np.log((weights * np.exp(logs - peak)).sum(axis=0))
    return capital


def rejects(draws: Floats, mean: float, alpha: float) -> NDArray[np.bool_]:
    """Whether the capital against "the mean is `mean` or more" has ever reached 1 / alpha, after each draw."""
    reached = np.maximum.accumulate(log_capital(draws, mean), axis=0) >= -math.log(alpha)
    return np.asarray(reached)


def upper_limit(draws: Floats, alpha: float) -> Floats:
    """The upper confidence limits of the means, of the shape of one draw, with all draws taken into account.

    They hold with probability 1 - alpha each, also where draws go on until a limit pleases.
    """
    low, high = np.zeros(draws.shape[1:]), np.ones(draws.shape[1:])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        out = log_capital(draws, middle).max(axis=0) >= -math.log(alpha)
        low, high = np.where(out, low, middle), np.where(out, middle, high)
    return high


def lower_limit(draws: Floats, alpha: float) -> Floats:
    """The lower confidence limits, as `upper_limit`."""
    return 1 - upper_limit(1 - draws, alpha)


@functools.cache
def clean_draws_needed(mean: float, alpha: float) -> int:
    """How many draws of 0 it takes to reject "the mean is `mean` or more"."""
    most = 8
    while True:
        found = rejects(np.zeros((most, 1)), mean, alpha)[:, 0]
        if found[-1]:
            return int(np.argmax(found)) + 1
        most *= 2


def draws_needed(draws: Sequence[float], mean: float, alpha: float) -> int | None:
    """After how many of these draws "the mean is `mean`" is rejected from either side; None where it never is."""
    column = np.asarray(draws, dtype=np.float64)[:, None]
    found = rejects(column, mean, alpha) | rejects(1 - column, 1 - mean, alpha)
    return int(np.argmax(found[:, 0])) + 1 if found.any() else None
