"""Fixed tests: how many documents they need, and how many failures they allow."""

import pytest
from scipy import stats

from vevolve.archive import checker
from vevolve.evaluators.confidence import fixed
from vevolve.evaluators.statistics import clopper_pearson_upper


def test_29_clean_documents_certify_a_tenth_and_59_a_twentieth() -> None:
    assert (fixed.clean_draws_needed(0.1, 0.05), fixed.clean_draws_needed(0.05, 0.05)) == (29, 59)
    assert fixed.failures_allowed(29, 0.1, 0.05) == 0 and fixed.failures_allowed(28, 0.1, 0.05) == -1


@pytest.mark.parametrize("documents", [29, 46, 60, 100, 400])
@pytest.mark.parametrize("alpha", [0.05, 0.0304])
def test_the_failures_allowed_are_the_most_whose_limit_is_low_enough(documents: int, alpha: float) -> None:
    allowed = fixed.failures_allowed(documents, 0.1, alpha)
    assert clopper_pearson_upper(allowed + 1, documents, 1 - alpha) > 0.1
    assert allowed < 0 or clopper_pearson_upper(allowed, documents, 1 - alpha) <= 0.1
    assert stats.binom.cdf(allowed, documents, 0.1) <= alpha  # how often a rate of a tenth passes


def test_the_planned_number_has_the_power_that_was_asked_for_and_a_third_of_it_has_not() -> None:
    planned = fixed.planned(0.1, 0.07, 0.05, 0.9)

    def power(documents: int) -> float:
        return float(stats.binom.cdf(fixed.failures_allowed(documents, 0.1, 0.05), documents, 0.07))

    assert power(planned) >= 0.9 > power(planned // 3)


@pytest.mark.parametrize(("failed", "count"), [(0, 29), (3, 60), (60, 60), (17, 200)])
def test_the_checkers_clopper_pearson_is_scipys(failed: int, count: int) -> None:
    import numpy as np

    column = np.array([1.0] * failed + [0.0] * (count - failed))[:, None]
    interval = stats.binomtest(failed, count).proportion_ci(0.9, method="exact")  # two-sided .9: one-sided .95
    assert checker.upper_limits(column, 0.05, "clopper-pearson")[0] == pytest.approx(interval.high, rel=1e-9)
