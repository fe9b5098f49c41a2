"""Limits by betting hold at every number of documents, for every law of draws in [0, 1]."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vevolve.archive import checker
from vevolve.evaluators.confidence import betting

ALPHA = 0.05
LAWS = {
    "draws of 0 and 1": (0.1, lambda draw, shape: (draw.random(shape) < 0.1).astype(float)),
    "rare and whole": (0.02, lambda draw, shape: (draw.random(shape) < 0.02).astype(float)),
    "a beta law": (0.1, lambda draw, shape: draw.beta(0.5, 4.5, shape)),
    "shares of few units": (0.1, lambda draw, shape: draw.binomial(4, draw.beta(0.3, 2.7, shape)) / 4),
    "half clean, half at .3": (0.15, lambda draw, shape: 0.3 * (draw.random(shape) < 0.5)),
    "always the same": (0.4, lambda draw, shape: np.full(shape, 0.4)),
}


def bound(share: float, trials: int) -> float:
    return share + 3 * math.sqrt(share * (1 - share) / trials)


@pytest.mark.parametrize("law", LAWS)
def test_the_true_mean_is_rejected_at_any_time_at_most_as_often_as_stated(law: str) -> None:
    truth, draws = LAWS[law]
    samples = draws(np.random.default_rng(11), (250, 1000))
    assert betting.rejects(samples, truth, ALPHA)[-1].mean() <= bound(ALPHA, 1000)
    assert betting.rejects(1 - samples, 1 - truth, ALPHA)[-1].mean() <= bound(ALPHA, 1000)


@pytest.mark.parametrize("law", LAWS)
def test_limits_cover_the_true_mean_and_close_in_on_it(law: str) -> None:
    truth, draws = LAWS[law]
    samples = draws(np.random.default_rng(5), (250, 300))
    upper, lower = betting.upper_limit(samples, ALPHA), betting.lower_limit(samples, ALPHA)
    assert (upper < truth).mean() <= bound(ALPHA, 300) and (lower > truth).mean() <= bound(ALPHA, 300)
    assert (lower > upper).mean() <= bound(2 * ALPHA, 300) and (upper - lower).mean() < 0.2
    assert betting.upper_limit(samples[:20], ALPHA).mean() > upper.mean()


def test_a_capital_is_a_fair_game_at_the_mean_and_a_losing_one_above_it() -> None:
    outcomes, chances = np.array([0.0, 0.25, 1.0]), np.array([0.7, 0.2, 0.1])
    mean = float(outcomes @ chances)
    grow = np.exp(betting.log_capital(outcomes[None], mean)[0]) @ chances
    assert grow == pytest.approx(1, rel=1e-12)
    assert np.exp(betting.log_capital(outcomes[None], mean - 0.02)[0]) @ chances < 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 0.5))
@settings(max_examples=60, deadline=None)
def test_a_limit_is_where_rejection_begins(draws: list[float], alpha: float) -> None:
    column = np.array(draws)[:, None]
    limit = float(betting.upper_limit(column, alpha)[0])
    if limit < 0.999:
        assert betting.rejects(column, limit + 1e-6, alpha)[-1, 0]
    if limit > 1e-6:
        assert not betting.rejects(column, limit - 1e-6, alpha)[-1, 0]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25])
def test_clean_documents_suffice_from_the_number_that_is_named_and_no_earlier(rate: float) -> None:
    needed = betting.clean_draws_needed(rate, ALPHA)
    assert (
        betting.upper_limit(np.zeros((needed, 1)), ALPHA)[0]
        <= rate
        < betting.upper_limit(np.zeros((needed - 1, 1)), ALPHA)[0]
    )


def test_the_standalone_checker_computes_the_same_capital_and_limits() -> None:
    draws = np.random.default_rng(2).beta(0.3, 3, (50, 7))
    assert checker.STAKES == betting.STAKES and checker.WEIGHTS == betting.WEIGHTS
    np.testing.assert_allclose(checker.log_capital(draws, 0.1), betting.log_capital(draws, 0.1), rtol=1e-12)
    np.testing.assert_allclose(checker.upper_limits(draws, 0.03, "betting"), betting.upper_limit(draws, 0.03))


def test_a_decision_comes_soon_where_the_rate_is_far_from_the_limit_and_late_where_it_is_near() -> None:
    draw = np.random.default_rng(4)

    def median(rate: float) -> float:
        found = [betting.draws_needed((draw.random(2000) < rate).tolist(), 0.1, ALPHA) for _ in range(60)]
        return float(np.median([2000 if one is None else one for one in found]))

    assert median(0.0) < 40 and median(0.3) < 60 < median(0.07)
