"""MagicPIG: the probability of being retrieved, and what it makes of the weighted sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch


def agreeing(angle, planes, tables, draws, rng):
    """Whether two vectors at this angle lie on one side of all planes of a table, planes drawn, [draws, tables]."""
    normals = rng.standard_normal((draws, tables, planes, 2))
    one, two = normals[..., 0], normals @ np.array([math.cos(angle), math.sin(angle)])
    return ((one >= 0) == (two >= 0)).all(axis=-1)


@pytest.mark.parametrize("angles", [(1.2,), (0.3, 1.9), (0.9, 1.0, 2.5)], ids=["G1", "G2", "G3"])
@pytest.mark.parametrize("planes", [3, 6])
def test_the_probability_of_two_collisions_is_the_observed_rate(lab, angles, planes):
    seed, rng = lab.load("magicpig"), np.random.default_rng(0)
    seed.TABLES = 20
    draws, collisions = 6000, 0
    for g, angle in enumerate(angles):
        collisions = collisions + agreeing(angle, planes, len(range(g, 20, len(angles))), draws, rng).sum(axis=1)
    p = torch.tensor([[[(1 - angle / math.pi) ** planes] for angle in angles]], dtype=torch.float64)
    expected = float(seed.retrieval(p).exp())
    observed = (collisions >= 2).mean()
    assert 0 < expected < 1
    assert abs(observed - expected) < 4 * math.sqrt(expected * (1 - expected) / draws) + 1e-9


def test_with_one_head_it_is_the_formula_of_the_paper_and_exact_for_small_chances(lab):
    seed = lab.load("magicpig")
    p = np.logspace(-7, -0.01, 40)
    found = seed.retrieval(torch.tensor(p)[None, None]).exp()[0].numpy()
    paper = 1 - (1 - p) ** (seed.TABLES - 1) * (1 - p + seed.TABLES * p)
    assert np.allclose(found[p > 1e-4], paper[p > 1e-4], rtol=1e-6)
    pairs = seed.TABLES * (seed.TABLES - 1) / 2
    assert np.allclose(found[p < 1e-6], pairs * p[p < 1e-6] ** 2, rtol=1e-3)
    assert bool((seed.retrieval(torch.ones(1, 2, 3, dtype=torch.float64)).exp() == 1).all())


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("generated", [1, 70])
def test_retrieved_are_the_tokens_that_collide_twice_counted_table_by_table(lab, group, generated):
    step, seed = lab.draw(heads=2, group=group, n=60 + generated, prompt=60, d=12), lab.load("magicpig")
    seed.TABLES = 15
    step.answer(seed, lab.tokens(20))
    index = step.built(seed)
    if generated > 64:
        index = step.appended(seed, index, 60, 124)
    planes = seed.normals(int(index["facts"][0]), 12, 3, "cpu").numpy()
    found = seed.hits(step.query, lab.Index(index), step.cache, index["mean"], 3)
    keys = step.keys[:, : step.n].numpy() - step.keys[:, :60].numpy().mean(axis=1, keepdims=True)
    for h in range(2):
        for j in range(step.n):
            count = sum(
                all(
                    (planes[k, t] @ keys[h, j] >= 0) == (planes[k, t] @ step.query[h, t % group].numpy() >= 0)
                    for k in range(3)
                )
                for t in range(15)
            )
            assert bool(found[h, j]) == (count >= 2)


@pytest.mark.parametrize("group", [1, 3])
def test_weighted_sums_are_unbiased_over_planes_and_draws(lab, group):
    """Where more tokens are retrieved than drawn, as `depth` sees to; 1,000 fresh sets of planes."""
    step, seed = lab.draw(heads=1, group=group, n=240, d=6, prompt=239, seed=3), lab.load("magicpig")
    step.query /= 2
    seed.TABLES, seed.PLANES = 42, 4
    seed.depth = lambda share: 3
    sums = [step.sums(*step.answer(seed, lab.tokens(24), draw=i)) for i in range(1000)]
    for drawn, truth in zip(zip(*sums, strict=True), step.dense(), strict=True):
        each = np.stack(drawn)
        error = each.std(axis=0, ddof=1) / math.sqrt(len(each))
        assert (error > 0).all() and (np.abs(each.mean(axis=0) - truth) < 4 * error).all()


def test_too_few_retrieved_are_kept_for_sure_and_others_stand_for_the_rest(lab):
    step, seed = lab.draw(heads=2, group=2, n=150, prompt=149), lab.load("magicpig")
    seed.depth = lambda share: seed.PLANES  # few collide
    ids, prob = step.answer(seed, lab.tokens(100))
    index = step.built(seed)
    found = seed.hits(step.query, lab.Index(index), step.cache, index["mean"], seed.PLANES)
    for h in range(2):
        fixed = {0, 1, *range(150 - math.ceil(seed.WINDOW_SHARE * 100), 150)}
        caught = {j for j in range(150) if bool(found[h, j])} - fixed
        assert 0 < len(caught) < 100 - len(fixed)
        sure = {int(i) for i, p in zip(ids[h], prob[h], strict=True) if p == 1}
        assert sure == fixed | caught
        spare = (100 - len(sure)) / (150 - len(sure))
        assert torch.allclose(prob[h][prob[h] < 1], torch.tensor(spare))


def test_fewer_planes_a_table_where_the_budget_is_larger(lab):
    depth = lab.load("magicpig").depth
    depths = [depth(share) for share in (1e-6, 0.01, 0.1, 0.5, 1.0)]
    assert depths == sorted(depths, reverse=True) and depths[0] == 10 and depths[-1] >= 1
