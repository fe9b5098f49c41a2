"""The attention that answers are judged by, against loops that follow the formula."""

import math

import numpy as np
import pytest

from vevolve.evaluators.sparse_decode.answer import check
from vevolve.evaluators.sparse_decode.attention import LARGEST_ERROR, deviation, reference
from vevolve.evaluators.sparse_decode.traces import Document, Layer
from vevolve.types import Frame

H, G, D, N, S, T = 2, 3, 8, 40, 3, 5


def document(seed=0):
    draw = np.random.default_rng(seed)
    layer = Layer(
        queries=draw.standard_normal((H, G, T, D), dtype=np.float32),
        keys=draw.standard_normal((H, N, D), dtype=np.float32),
        values=draw.standard_normal((H, N, D), dtype=np.float32),
    )
    return Document(f"d{seed}", "random", "random", "search", "prose", S, {4: layer})


DOCUMENT = document()
LAYER = DOCUMENT.layers[4]


def naive(step, head, group, ids, prob, tail=None):
    """sum(w / p v) / sum(w / p), one token at a time."""
    query = [float(x) for x in LAYER.queries[head, group, T - S + step]]
    weights, values = [], []
    for token, p in zip(ids, prob, strict=True):
        if token < 0:
            continue
        logit = sum(a * float(b) for a, b in zip(query, LAYER.keys[head, token], strict=True)) / math.sqrt(D)
        weights.append(math.exp(logit) / p)
        values.append(LAYER.values[head, token].astype(np.float64))
    if tail is not None:
        for log_weight, value in zip(*tail, strict=True):
            weights.append(math.exp(log_weight))
            values.append(value.astype(np.float64))
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights), sum(weights)


def judged(ids, prob, step, tail=None):
    frame = Frame({"0": np.asarray(ids), "1": np.asarray(prob)})
    if tail is not None:
        frame["2.0"], frame["2.1"] = tail
    n = N - S + step + 1
    return deviation(check(frame, H, G, D, n, None), reference(DOCUMENT, 4), step)


def visible(step):
    return np.arange(N - S + step + 1)


@pytest.mark.parametrize("step", range(S))
def test_dense_outputs_match_loops_over_the_visible_tokens(step):
    dense = reference(DOCUMENT, 4)
    for head in range(H):
        for group in range(G):
            out, mass = (
                naive(step, head, group, visible(step), np.ones(N))
                if step == S - 1
                else naive(step, head, group, visible(step), np.ones(len(visible(step))))
            )
            assert np.allclose(dense.outputs[step, head, group], out, rtol=1e-12)
            assert dense.mass[step, head, group] == pytest.approx(math.log(mass), abs=1e-12)


@pytest.mark.parametrize("per_query", [False, True], ids=["shared", "per-query"])
@pytest.mark.parametrize("with_tail", [False, True], ids=["plain", "tail"])
@pytest.mark.parametrize("step", [0, S - 1])
def test_errors_match_loops_with_probabilities_pads_and_tails(per_query, with_tail, step):
    draw = np.random.default_rng(5)
    n = N - S + step + 1
    rows = (H, G) if per_query else (H,)
    ids = np.stack([draw.permutation(n)[:9] for _ in range(math.prod(rows))]).reshape(*rows, 9)
    ids[..., 4] = -1
    prob = draw.uniform(0.05, 1, ids.shape)
    tail = (draw.standard_normal((H, G, 5)), draw.standard_normal((H, 5, D))) if with_tail else None
    found = judged(ids, prob, step, tail)
    for head in range(H):
        for group in range(G):
            row = (head, group) if per_query else (head,)
            extra = (tail[0][head, group], tail[1][head]) if tail else None
            out, mass = naive(step, head, group, ids[row], prob[row], extra)
            exact, whole = naive(step, head, group, range(n), np.ones(n))
            error = math.dist(out, exact) / math.hypot(*exact)
            assert found.error[head, group] == pytest.approx(error, rel=1e-9)
            assert found.mass[head, group] == pytest.approx(mass / whole, rel=1e-9)
            _, held = naive(step, head, group, ids[row], np.ones(9))
            assert found.covered[head, group] == pytest.approx(held / whole, rel=1e-9)


def test_choosing_everything_is_exact():
    everything = np.tile(visible(1), (H, 1))
    found = judged(everything, np.ones(everything.shape), 1)
    assert found.error.max() < 1e-12
    assert np.allclose(found.covered, 1)
    assert np.allclose(found.mass, 1)


def test_a_common_factor_of_all_probabilities_changes_nothing():
    ids = np.tile(np.arange(0, 30, 3), (H, 1))
    one, half = (judged(ids, np.full(ids.shape, p), 0).error for p in (1.0, 1e-300))
    assert np.allclose(one, half, rtol=1e-9)


def test_an_equal_sample_estimates_both_sums_without_bias():
    draw = np.random.default_rng(1)
    n, size, rounds = N - S + 1, 12, 1500
    drawn = [
        judged(np.stack([draw.permutation(n)[:size] for _ in range(H)]), np.full((H, size), size / n), 0).mass
        for _ in range(rounds)
    ]
    mean, spread = np.mean(drawn, axis=0), np.std(drawn, axis=0) / math.sqrt(rounds)
    assert (np.abs(mean - 1) < 4.5 * spread).all()


def test_a_huge_tail_gives_a_large_but_finite_error():
    ids = np.zeros((H, 1), np.int64)
    found = judged(ids, np.ones((H, 1)), 0, (np.full((H, G, 1), 700.0), np.full((H, 1, D), 1e300)))
    assert (found.error == LARGEST_ERROR).all()
    assert np.isfinite(found.mass).all()


def test_a_reference_is_computed_once_for_equal_documents():
    assert reference(document(3), 4) is reference(document(3), 4)
    assert reference(document(3), 4) is not reference(document(2), 4)
