"""What (epsilon, delta) asks of numerator and denominator (Desai et al. 2025, arXiv:2510.05688).

Mode "denominator": its relative error is at most epsilon. "numerator": the norm of its error, relative to its own. Mode
"output": both, with epsilon_1 and epsilon_2 such that (epsilon_1 + epsilon_2) / (1 - epsilon_2) = epsilon, which bounds
the error of their ratio, and delta_1 + delta_2 = delta: 19 x 19 such splits, of which the cheapest counts.
"""

from __future__ import annotations

import itertools
from statistics import NormalDist

MODES = ("denominator", "numerator", "output")
SHARES = tuple(0.05 * part for part in range(1, 20))
"""Of epsilon and delta that may go to the denominator."""


def promised(mode: str, epsilon: float, delta: float) -> list[list[float]]:
    """What is promised, (epsilon, z) of the numerator and of the denominator; any line will do. z = 0: nothing is."""

    def z(probability: float) -> float:
        return NormalDist().inv_cdf(1 - probability / 2)

    if mode == "denominator":
        return [[0.0, 0.0, epsilon, z(delta)]]
    if mode == "numerator":
        return [[epsilon, z(delta), 0.0, 0.0]]
    found: list[list[float]] = []
    for part, other in itertools.product(SHARES, SHARES):
        epsilon_d, delta_d = part * epsilon / (1 + epsilon), other * delta
        found.append([epsilon * (1 - epsilon_d) - epsilon_d, z(delta - delta_d), epsilon_d, z(delta_d)])
    return found
