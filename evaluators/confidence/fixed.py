"""Tests of a number of documents that is fixed before: Clopper and Pearson's, and how many documents they need."""

from __future__ import annotations

import math

from scipy import stats  # type: ignore[import-untyped]

from vevolve.evaluators.statistics import clopper_pearson_upper


def clean_draws_needed(rate: float, alpha: float) -> int:
    """How many draws without a failure put the exact upper limit at `rate` or below."""
    return math.ceil(math.log(alpha) / math.log1p(-rate) - 1e-9)


def failures_allowed(documents: int, rate: float, alpha: float) -> int:
    """The most failures with which the exact upper limit is `rate` or below; -1 where not even none are enough."""
    allowed = int(stats.binom.ppf(alpha, documents, rate))
    while allowed >= 0 and (
        allowed == documents or clopper_pearson_upper(allowed, documents, 1 - alpha) > rate * (1 + 1e-12)
    ):
        allowed -= 1
    return allowed


def planned(rate: float, truth: float, alpha: float, power: float) -> int:
    """The fewest documents with which a candidate of failure rate `truth` passes the test of `rate` so often."""
    documents = clean_draws_needed(rate, alpha)
    while True:
        allowed = failures_allowed(documents, rate, alpha)
        if allowed >= 0 and float(stats.binom.cdf(allowed, documents, truth)) >= power:
            return documents
        documents += 1
