"""Paired comparison by document and online control of false discoveries: luck does not become an elite."""

import math

import numpy as np
import pytest

from vevolve.evaluators.confidence import betting
from vevolve.evaluators.confidence.discoveries import Discoveries, share
from vevolve.evaluators.confidence.paired import compare


def test_the_levels_of_all_tests_together_spend_no_more_than_alpha() -> None:
    tests = 200_000
    spent = sum(share(test) for test in range(1, tests))
    # The rest of the series is below its integral, and above that less one term.
    scale = share(1) * 2
    rest = scale * math.log(2) ** 2 / math.log(tests)
    assert spent + rest <= 1 + 1e-9 and spent + rest > 0.999


def test_a_discovery_earns_the_next_tests_a_higher_level() -> None:
    found, after = Discoveries(0.05).test(1e9)
    missed, other = Discoveries(0.05).test(1.0)
    assert found and not missed and after.made == 1 and after.tests == other.tests == 1
    assert after.level == pytest.approx(2 * other.level)


def test_the_share_of_false_discoveries_stays_below_alpha_with_evidence_of_dependent_tests() -> None:
    draw = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        common, stream, false = draw.normal(), Discoveries(0.1), 0
        for test in range(60):
            real = test % 6 == 0
            drift = 4.0 if real else 0.0
            z = 0.7 * common + math.sqrt(1 - 0.49) * draw.normal() + drift
            found, stream = stream.test(math.exp(3 * z - 4.5))  # e-value of N(0, 1) against N(3, 1)
            false += found and not real
        shares.append(false / max(stream.made, 1))
    assert np.mean(shares) <= 0.1 + 3 * np.std(shares) / 20


def test_equal_candidates_are_found_better_at_most_as_often_as_stated_when_documents_are_looked_at_one_by_one() -> None:
    draw = np.random.default_rng(1)
    gains = draw.normal(0, 0.1, (40, 400)).clip(-0.5, 0.5)  # what makes a document hard is subtracted already
    wrong = betting.rejects((1 - gains / 0.5) / 2, 0.5, 0.05)[-1]
    one = compare(gains[:, 0].tolist(), 0.5)
    assert one.evidence == pytest.approx(np.exp(betting.log_capital((1 - gains[:, :1] / 0.5) / 2, 0.5)[-1, 0]))
    assert wrong.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_a_better_candidate_is_found_and_the_limits_of_its_gain_hold_the_truth() -> None:
    draw = np.random.default_rng(2)
    found = [compare(np.clip(draw.normal(0.1, 0.1, 60), -0.5, 0.5), 0.5) for _ in range(50)]
    assert np.mean([one.evidence >= 20 for one in found]) > 0.9
    assert np.mean([one.lower <= 0.1 <= one.upper for one in found]) >= 0.9


def test_gains_beyond_the_bound_are_cut_and_nonsense_is_refused() -> None:
    assert compare([3.0, -0.1], 0.5).mean == pytest.approx(0.2)
    with pytest.raises(ValueError, match="bound above 0"):
        compare([0.1], 0.0)
    with pytest.raises(ValueError, match="at least one gain"):
        compare([], 0.5)
