"""Upper limits hold at the stated confidence, by document, whatever the documents' rates look like."""

import functools
import math

import numpy as np
import pytest
from scipy import stats

from vevolve.evaluators.statistics import clopper_pearson_upper, hoeffding_bentkus_upper


@pytest.mark.parametrize("count", [1, 6, 29, 59, 400])
def test_no_violation_gives_the_exact_binomial_limit(count):
    exact = 1 - 0.05 ** (1 / count)
    assert clopper_pearson_upper(0, count) == pytest.approx(exact, rel=1e-9)
    assert hoeffding_bentkus_upper([0.0] * count) == pytest.approx(exact, rel=1e-6)


def test_29_clean_documents_certify_a_tenth_and_28_do_not():
    assert clopper_pearson_upper(0, 29) < 0.1 < clopper_pearson_upper(0, 28)
    assert hoeffding_bentkus_upper([0.0] * 29) < 0.1 < hoeffding_bentkus_upper([0.0] * 28)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (9, 10), (10, 10), (17, 200)])
def test_clopper_pearson_is_where_the_binomial_tail_meets_the_level(successes, trials):
    upper = clopper_pearson_upper(successes, trials)
    if successes == trials:
        assert upper == 1.0
    else:
        assert stats.binom.cdf(successes, trials, upper) == pytest.approx(0.05, rel=1e-6)


def test_all_documents_violating_leaves_no_limit():
    assert hoeffding_bentkus_upper([1.0] * 20) == 1.0


def test_the_limit_lies_above_the_rate_and_falls_with_more_documents():
    few, many = (hoeffding_bentkus_upper([0.02, 0.1] * half) for half in (5, 100))
    assert 0.06 < many < few < 1.0


def test_a_sum_that_rounding_lifts_over_a_whole_number_is_taken_as_whole():
    fractions, whole = [0.2] * 15, [1.0] * 3 + [0.0] * 12
    assert np.sum(fractions) > 3
    assert hoeffding_bentkus_upper(fractions) == pytest.approx(hoeffding_bentkus_upper(whole), rel=1e-6)


CLUSTERED = {
    "documents all bad with probability .15": lambda draw, shape: (draw.random(shape) < 0.15).astype(float),
    "documents all bad with probability .03": lambda draw, shape: (draw.random(shape) < 0.03).astype(float),
    "rates spread by a beta law": lambda draw, shape: draw.beta(0.5, 4.5, shape),
    "rates of few steps": lambda draw, shape: draw.binomial(4, draw.beta(0.3, 2.7, shape)) / 4,
    "half of the documents clean, half at .3": lambda draw, shape: 0.3 * (draw.random(shape) < 0.5),
}
TRUTH = {
    "documents all bad with probability .15": 0.15,
    "documents all bad with probability .03": 0.03,
    "rates spread by a beta law": 0.1,
    "rates of few steps": 0.1,
    "half of the documents clean, half at .3": 0.15,
}


@pytest.mark.parametrize("law", CLUSTERED)
@pytest.mark.parametrize("documents", [6, 40])
def test_the_limit_misses_the_true_rate_at_most_as_often_as_stated(law, documents):
    draw = np.random.default_rng(7)
    samples = CLUSTERED[law](draw, (600, documents))
    cached = functools.lru_cache(maxsize=None)(lambda rates: hoeffding_bentkus_upper(rates) < TRUTH[law])
    missed = np.mean([cached(tuple(sorted(rates))) for rates in samples.tolist()])
    assert missed <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_steps_counted_as_independent_would_break_the_promise_that_documents_keep():
    draw = np.random.default_rng(3)
    bad = draw.random((600, 10)) < 0.15
    counts, often = np.unique(bad.sum(axis=1), return_counts=True)
    by_document = often @ [hoeffding_bentkus_upper([1.0] * k + [0.0] * (10 - k)) < 0.15 for k in counts] / 600
    by_step = often @ [clopper_pearson_upper(10 * int(k), 100) < 0.15 for k in counts] / 600
    assert by_document <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)
    assert by_step > 0.15


@pytest.mark.parametrize("rates", [[], [0.5, 1.2], [-0.1], [float("nan")]])
def test_rates_that_are_none_are_refused(rates):
    with pytest.raises(ValueError, match="rate in"):
        hoeffding_bentkus_upper(rates)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1.5])
def test_a_confidence_outside_the_open_interval_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        hoeffding_bentkus_upper([0.1], confidence)
    with pytest.raises(ValueError, match="confidence"):
        clopper_pearson_upper(0, 3, confidence)


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson_upper(4, 3)
