"""The statistics of the sampling seeds: unbiased sums, the right sample size, promises kept."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import norm

from vevolve import registry

MODES = ["denominator", "numerator", "output"]
FOLDER = registry.seed_folder("sparse_decode")
SAMPLERS = [
    name
    for name in registry.seed_names("sparse_decode")
    if re.search(r"def select\(.*\brng\b", (FOLDER / f"{name}.py").read_text()) and name != "magicpig"
]
"""Every seed that draws; that of MagicPIG is unbiased over the planes of `build` too, and tested in its own file."""


def means_and_errors(step, answers):
    """Mean and standard error of the weighted numerator and denominator over many answers."""
    drawn = [step.sums(*answer) for answer in answers]
    stacked = [np.stack(each) for each in zip(*drawn, strict=True)]
    return [(each.mean(axis=0), each.std(axis=0, ddof=1) / math.sqrt(len(each))) for each in stacked]


@pytest.mark.parametrize("name", SAMPLERS)
def test_weighted_sums_are_unbiased_at_a_token_budget(lab, name):
    step, seed = lab.draw(heads=1, group=2, n=80, d=4), lab.load(name)
    figures = means_and_errors(step, [step.answer(seed, lab.tokens(20), draw=i) for i in range(1000)])
    for (mean, error), truth in zip(figures, step.dense(), strict=True):
        assert (error > 0).all() and (np.abs(mean - truth) < 4 * error).all()


@pytest.mark.parametrize("name", ["vattention", "vattention_oracle"])
def test_weighted_sums_are_unbiased_although_the_pilot_sets_the_sample_size(lab, name):
    step, seed = lab.draw(heads=1, group=2, n=300, d=4), lab.load(name)
    seed.PILOT_SHARE = 0.03
    answers = [step.answer(seed, lab.verified(0.25, 0.25), draw=i) for i in range(1000)]
    assert len({ids.shape[1] for ids, _ in answers}) > 5  # the size does vary with the pilot
    for (mean, error), truth in zip(means_and_errors(step, answers), step.dense(), strict=True):
        assert (error > 0).all() and (np.abs(mean - truth) < 4 * error).all()


def test_a_sample_is_uniform_over_the_residual_and_counts_differ_by_head(lab):
    seed, n, rng = lab.load("vattention"), 40, torch.Generator().manual_seed(0)
    fixed = torch.tensor([[0, 5, 39], [1, 2, 3]])
    hits = torch.zeros(2, n)
    for _ in range(4000):
        ids, prob = seed.sample(fixed, n, torch.tensor([4, 9]), rng)
        assert ids.shape == prob.shape == (2, 9)
        assert (ids[0] == -1).tolist() == [False] * 4 + [True] * 5 and bool((ids[1] >= 0).all())
        hits[0, ids[0, :4]] += 1
        hits[1, ids[1]] += 1
    for h, count in enumerate([4, 9]):
        rate = hits[h] / 4000
        assert rate[fixed[h]].sum() == 0
        rest = rate[rate > 0]
        assert len(rest) == 37
        assert ((rest - count / 37).abs() < 5 * math.sqrt(count / 37 * (1 - count / 37) / 4000)).all()
    assert torch.allclose(prob[0, :4], torch.tensor(4 / 37)) and torch.allclose(prob[1], torch.tensor(9 / 37))


def test_sample_size_is_the_least_that_the_lemma_allows(lab):
    seed, rng = lab.load("vattention"), np.random.default_rng(0)
    for _ in range(300):
        left, spread, delta = int(rng.integers(2, 5000)), rng.lognormal(), rng.uniform(0.01, 0.5)
        tau = left * spread * rng.uniform(0.005, 1)
        z = norm.ppf(1 - delta / 2)
        held = (z * left * spread) ** 2 * (1 / np.arange(1, left + 1) - 1 / left) <= tau**2
        expected = int(np.argmax(held)) + 1
        arguments = torch.tensor([spread, tau, delta], dtype=torch.float64)
        assert math.ceil(float(seed.sample_size(*arguments, left)) - 1e-9) == expected


def test_sample_size_of_degenerate_moments_is_finite(lab):
    size = lab.load("vattention").sample_size
    delta, nan = torch.tensor(0.1), torch.tensor(torch.nan)
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    assert float(size(zero, one, delta, 50)) == 0  # no spread: nothing to draw
    assert float(size(one, zero, delta, 50)) == 50  # no tolerance: draw all
    assert float(size(zero, zero, delta, 50)) == 50
    assert float(size(nan, one, delta, 50)) == 50


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["vattention", "vattention_oracle"])
def test_the_drawn_count_follows_from_the_pilot(lab, name, mode):
    """Moments, tolerance and split recomputed head by head in numpy from what the seed read."""
    seed, step, epsilon, delta = lab.load(name), lab.draw(heads=3, group=2, n=600, d=8), 0.2, 0.1
    seed.MODE = mode
    step.answer(seed, lab.tokens(8))
    ids = torch.stack([torch.randperm(600, generator=torch.Generator().manual_seed(h))[:100] for h in range(3)])
    heavy, probe = ids[:, :60], ids[:, 60:]
    counts = seed.counts_for(step.query, step.cache, heavy, probe, lab.verified(epsilon, delta))

    def least(spread, tau, delta):
        return 500 / (1 + (tau / (norm.ppf(1 - delta / 2) * spread)) ** 2 / 500)

    expected = []
    for h in range(3):
        needs = []
        for g in range(2):
            w = np.exp(step.logits()[h, g, ids[h]])
            w = w / w.max()
            wv = w[:, None] * step.values[h, ids[h]].double().numpy()
            total_d = w[:60].sum() + 540 * w[60:].mean()
            total_n = np.linalg.norm(wv[:60].sum(axis=0) + 540 * wv[60:].mean(axis=0))
            spread_d, spread_n = w[60:].std(ddof=1), np.sqrt(wv[60:].var(axis=0, ddof=1).sum())
            if mode == "denominator":
                needs.append(least(spread_d, epsilon * total_d, delta))
            elif mode == "numerator":
                needs.append(least(spread_n, epsilon * total_n, delta))
            else:
                splits = []
                for share in np.linspace(0.05, 0.95, 19):
                    two = share * epsilon / (1 + epsilon)
                    one = epsilon * (1 - two) - two
                    assert (one + two) / (1 - two) == pytest.approx(epsilon)
                    for part in np.linspace(0.05, 0.95, 19):
                        n_needs = least(spread_n, one * total_n, (1 - part) * delta)
                        splits.append(max(n_needs, least(spread_d, two * total_d, part * delta)))
                needs.append(min(splits))
        expected.append(max(math.ceil(max(needs) - 1e-3), 40))
    assert counts.tolist() == expected
    assert mode == "denominator" or int(step.cache.read_values.sum()) == 300


def test_the_denominator_mode_reads_no_values(lab):
    seed, step = lab.load("vattention"), lab.draw(n=400)
    seed.MODE = "denominator"
    step.answer(seed, lab.verified(0.25, 0.25))
    assert int(step.cache.read_values.sum()) == 0 and int(step.cache.read_keys.sum()) > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("promise", [0.05, 0.1, 0.25])
def test_promises_are_kept(lab, mode, promise):
    """On peaked-plus-flat attention, the verified quantity breaks epsilon in at most a share delta of the draws."""
    seed = lab.load("vattention_oracle")
    seed.MODE = mode
    errors, drawn, residual = [], [], []
    for trial in range(40):
        step = lab.spiky(heads=10, n=2000, d=8, seed=trial)
        ids, prob = step.answer(seed, lab.verified(promise, promise), draw=trial)
        (numerator, denominator), (true_n, true_d) = step.sums(ids, prob), step.dense()
        if mode == "denominator":
            found = np.abs(denominator / true_d - 1)
        else:
            scale = 1 if mode == "numerator" else denominator[..., None] / true_d[..., None]
            found = np.linalg.norm(numerator / scale - true_n, axis=-1) / np.linalg.norm(true_n, axis=-1)
        errors.append(found.ravel())
        drawn.append(int(((prob < 1) & (ids >= 0)).sum()))
        residual.append(int(2000 * 10 * (1 - seed.HEAVY_SHARE)))
    rate, units = (np.concatenate(errors) > promise).mean(), 40 * 10
    assert sum(drawn) < 0.9 * sum(residual)  # the promise is not kept by reading nearly everything
    assert rate <= promise + 2 * math.sqrt(promise * (1 - promise) / units)
