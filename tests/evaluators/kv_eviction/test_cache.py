"""What is left after eviction, and attention over it."""

import numpy as np
import pytest

from vevolve.evaluators.kv_eviction.cache import attend, gather, rotate
from vevolve.evaluators.sparse_decode.attention import reference
from vevolve.evaluators.sparse_decode.traces import Layer

BASE = 1e4


def ids_of(*rows):
    return tuple(np.array(row, np.int64) for row in rows)


def naive(case, ids, layer=0):
    """Attention over kept and later tokens, token by token."""
    one, n, steps = case.document.layers[layer], case.document.prompt, case.document.steps
    heads, group, _, width = one.queries.shape
    out = np.zeros((steps, heads, group, width))
    for t in range(steps):
        for h in range(heads):
            for g in range(group):
                seen = [*ids[h], *range(n, n + t + 1)]
                q = one.queries[h, g, n + t].astype(np.float64)
                weights = np.array([np.exp(q @ one.keys[h, j] / np.sqrt(width)) for j in seen])
                out[t, h, g] = sum(w * one.values[h, j] for w, j in zip(weights, seen, strict=True)) / weights.sum()
    return out


def kept(case, ids, base=None, layer=0):
    evidence = case.evidence[layer]
    return gather(evidence.keys, evidence.values, ids, base)


def test_attention_over_what_is_left_is_that_of_a_loop(make_context):
    case = make_context(heads=3, group=2, n=40, steps=4)
    ids = ids_of([0, 3, 17, 39], range(40), [5])
    np.testing.assert_allclose(attend(kept(case, ids), case.document.layers[0], 4), naive(case, ids), rtol=1e-10)


def test_a_head_that_keeps_nothing_attends_to_what_comes_later(make_context):
    case = make_context(n=20, steps=3)
    out = attend(kept(case, ids_of([], [1, 2])), case.document.layers[0], 3)
    np.testing.assert_allclose(out[0, 0, 0], case.document.layers[0].values[0, 20], rtol=1e-6)
    np.testing.assert_allclose(out, naive(case, ids_of([], [1, 2])), rtol=1e-10)


@pytest.mark.parametrize("base", [None, BASE])
def test_keeping_everything_is_dense_attention(make_context, base):
    case = make_context(n=60, steps=5, heads=3)
    out = attend(kept(case, ids_of(*[range(60)] * 3), base), case.document.layers[0], 5)
    np.testing.assert_allclose(out, reference(case.document, 0).outputs, rtol=1e-9, atol=1e-12)


def test_only_kept_rows_exist_and_every_byte_of_them_is_counted(make_context):
    case = make_context(n=50, heads=3, dim=16)
    even = kept(case, ids_of([1, 2], [3, 4], [5, 6]))
    assert even.keys.shape == even.values.shape == (6, 16) and even.starts is None
    assert even.nbytes == 2 * 6 * 16 * 2 and even.dense_nbytes == 2 * 3 * 50 * 16 * 2
    assert even.keys.base is None or even.keys.base.nbytes <= even.keys.nbytes
    ragged = kept(case, ids_of([1], [3, 4, 9], [5, 6]))
    assert ragged.starts.tolist() == [0, 1, 4, 6] and ragged.nbytes == even.nbytes + 4 * 4
    np.testing.assert_array_equal(ragged.head(1)[0], case.evidence[0].keys[1, [3, 4, 9]].astype(np.float16))


def test_rotating_is_multiplication_by_a_complex_number():
    draw = np.random.default_rng(0)
    vectors, by = draw.standard_normal((7, 10)), np.array([0, 1, -3, 20, 500, -7, 2])
    plain = vectors[:, :5] + 1j * vectors[:, 5:]
    turned = plain * np.exp(1j * by[:, None] * BASE ** (-2 * np.arange(5) / 10))
    np.testing.assert_allclose(rotate(vectors, by, BASE), np.hstack([turned.real, turned.imag]), rtol=1e-12)
    np.testing.assert_allclose(rotate(rotate(vectors, by, BASE), -by, BASE), vectors, rtol=1e-12)


def test_after_reanchoring_attention_is_that_of_a_prompt_of_the_kept_tokens_alone(make_context):
    """Build the same text twice: rotated where it stood, and rotated as if only the kept tokens had been read."""
    n, steps, chosen = 40, 4, [[0, 1, 2, 30, 38], [0, 5, 39]]
    draw = np.random.default_rng(3)
    plain_keys, plain_queries = draw.standard_normal((2, n + steps, 16)), draw.standard_normal((2, 1, n + steps, 16))
    values = draw.standard_normal((2, n + steps, 16)).astype(np.float16).astype(np.float32)

    def layer(places):
        keys = np.stack([rotate(plain_keys[h], places[h], BASE) for h in range(2)])
        queries = np.stack([rotate(plain_queries[h], places[h], BASE) for h in range(2)])
        return Layer(queries.astype(np.float32), keys.astype(np.float32), values)

    stood = layer([np.arange(n + steps)] * 2)
    cache = gather(stood.keys[:, :n], stood.values[:, :n], ids_of(*chosen), BASE)
    out = attend(cache, stood, steps)
    for head, rows in enumerate(chosen):
        slots = np.zeros(n + steps, dtype=np.int64)
        slots[rows] = np.arange(len(rows))
        slots[n:] = len(rows) + np.arange(steps)
        short = layer([slots] * 2)
        alone = gather(short.keys[:, :n], short.values[:, :n], ids_of(*[rows] * 2))
        expected = attend(alone, short, steps)[:, head]
        np.testing.assert_allclose(out[:, head], expected, rtol=0, atol=5e-3)  # rotated keys are rounded to float16
    still = attend(gather(stood.keys[:, :n], stood.values[:, :n], ids_of(*chosen)), stood, steps)
    assert np.abs(still - out).max() > 0.05
