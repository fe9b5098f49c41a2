"""Online control of false discoveries: e-LOND (Xu and Ramdas, "Online multiple testing with e-values", 2024).

Hypotheses come one after another, such as "challenger t is no better than the incumbent", each with an e-value: a
number that is at least 0 and, where the hypothesis is true, at most 1 in the mean. Hypothesis t is rejected where its
e-value reaches 1 / (alpha gamma_t (discoveries before + 1)), gamma_t above 0 with sum at most 1. The expected share of
false ones among the discoveries then is at most alpha at every time, however the e-values depend on each other.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace


@functools.cache
def _scale() -> float:
    """One over the sum of 1 / ((t + 1) log2(t + 1)^2) over all t from 1, bounded from above by an integral."""
    terms = 10_000
    head = sum(1 / ((t + 1) * math.log2(t + 1) ** 2) for t in range(1, terms + 1))
    # From t + 1 = terms + 1 on, 1 / (x log2(x)^2) falls, so the rest is below its integral from there.
    rest = math.log(2) ** 2 / math.log(terms + 1)
    return 1 / (head + rest)


def share(test: int) -> float:
    """gamma_t of test t, counted from 1: it falls like 1 / (t log^2 t), slowly, so that late tests keep power."""
    return _scale() / ((test + 1) * math.log2(test + 1) ** 2)


@dataclass(frozen=True)
class Discoveries:
    """A stream of tests so far.

    Attributes:
        alpha: the share of false discoveries that is allowed.
        tests: how many there were.
        made: how many of them were discoveries.
    """

    alpha: float = 0.05
    tests: int = 0
    made: int = 0

    @property
    def level(self) -> float:
        """What the next test spends: its e-value must reach one over this."""
        return self.alpha * share(self.tests + 1) * (self.made + 1)

    def test(self, evidence: float) -> tuple[bool, Discoveries]:
        """Whether an e-value is a discovery, and the stream with it."""
        found = evidence * self.level >= 1
        return found, replace(self, tests=self.tests + 1, made=self.made + found)
