import json

import numpy as np
import pytest

from vevolve.errors import BadInput, UnknownName
from vevolve.evaluators.sparse_decode import traces
from vevolve.evaluators.sparse_decode.stress import NEEDLES, OUTLIERS, SINKS, STRESS, stress
from vevolve.evaluators.sparse_decode.synthetic import FAMILIES, family
from vevolve.types import Seed

SEEDS = [Seed(bytes([number]) * 16) for number in (1, 2)]


def attention(document):
    """[H, G, S, N] of the decode steps, causal."""
    (layer,) = document.layers.values()
    steps, tokens = document.steps, document.tokens
    query = layer.queries[:, :, -steps:].astype(np.float64)
    logits = np.einsum("hgtd,hnd->hgtn", query, layer.keys) / np.sqrt(layer.width)
    logits[..., np.arange(tokens) > np.arange(tokens - steps, tokens)[:, None]] = -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def entropy(weights):
    return -(weights * np.log(np.maximum(weights, 1e-300))).sum(-1)


def channel_ratio(tensor):
    """Largest to median mean size of a channel, for each head."""
    size = np.abs(tensor).mean(1)
    return size.max(-1) / np.median(size, -1)


@pytest.fixture(scope="module", params=FAMILIES)
def drawn(request):
    """(family, [(document, roles [H, G], attention of its decode steps)])."""
    documents = [document for seed in SEEDS for document in family(request.param, seed)]
    return request.param, [(d, np.array(json.loads(d.notes["roles"])[0]), attention(d)) for d in documents]


def test_documents_are_labelled_synthetic_and_fit_the_trace_format(drawn, tmp_path):
    name, found = drawn
    for document, _, _ in found:
        assert document.kind == f"synthetic:{name}" and "synthetic" in document.model
        assert document.layers[0].keys.shape == (4, 2048, 128)
        traces.write(document, path := tmp_path / "a.safetensors")
        assert traces.read(path).hash == document.hash


def test_the_seed_decides_everything():
    for name in FAMILIES:
        first, again, other = (family(name, seed, 1, tokens=300)[0].hash for seed in (SEEDS[0], SEEDS[0], SEEDS[1]))
        assert first == again != other


def test_groups_and_rope_bases_are_those_of_the_models():
    assert [(d.layers[0].group, d.rope_base) for d in family("llama3", SEEDS[0], tokens=300)] == [(4, 5e5), (4, 5e5)]
    assert [(d.layers[0].group, d.rope_base) for d in family("qwen3", SEEDS[0], tokens=300)] == [(4, 1e6), (8, 1e6)]


def test_the_first_token_takes_about_half_of_all_attention_and_says_next_to_nothing(drawn):
    for document, _, weights in drawn[1]:
        assert 0.4 < weights[..., 0].mean() < 0.75
        norms = np.linalg.norm(document.layers[0].values, axis=-1)
        assert (norms[:, 0] < 0.1 * np.median(norms, 1)).all()


def test_keys_lie_in_a_cone_with_a_few_large_channels_and_the_sink_outside_it(drawn):
    name, found = drawn
    for document, _, _ in found:
        keys = document.layers[0].keys
        units = keys / np.linalg.norm(keys, axis=-1, keepdims=True)
        mean = units[:, 1:].mean(1)
        concentration = (mean**2).sum(-1)  # the mean cosine of two keys
        assert ((concentration > 0.4) & (concentration < 0.8)).all()
        assert (np.einsum("hd,hd->h", units[:, 0], mean) < 0).all()
        ratio = channel_ratio(keys[:, 1:])
        assert ((ratio > 5) & (ratio < 16)).all()
        assert (channel_ratio(document.layers[0].values) < 2).all()
        norms = np.linalg.norm(keys, axis=-1)
        spread = norms[:, 1:].std(1) / norms[:, 1:].mean(1)
        if name == "llama3":
            assert ((spread > 0.08) & (spread < 0.2)).all()
            short = norms[:, 0] / np.median(norms, 1)
            assert ((short > 0.3) & (short < 0.6)).all()
        else:
            assert (spread < 0.08).all()


def test_large_channels_are_the_same_at_every_token(drawn):
    for document, _, _ in drawn[1]:
        size = np.abs(document.layers[0].keys[:, 1:])
        first, second = (np.argsort(half.mean(1), -1)[:, -3:] for half in (size[:, :1000], size[:, 1000:]))
        assert (np.sort(first) == np.sort(second)).all()


def test_one_head_in_twenty_reads_the_needle_in_order_among_lookalikes(drawn):
    for document, roles, weights in drawn[1]:
        assert 0.03 < (roles == "retrieval").mean() < 0.08
        start, stop = document.needle
        assert stop <= document.prompt
        steps = np.arange(document.steps)
        mass = weights[..., start:stop].sum(-1)
        own = weights[..., steps, start + steps]
        assert mass[roles == "retrieval"].mean() > 0.4
        assert own[roles == "retrieval"].mean() > 0.25
        assert mass[roles != "retrieval"].mean() < 0.02
        lookalikes = json.loads(document.notes["lookalikes"])
        others = np.setdiff1d(np.arange(1, document.tokens), [*lookalikes, *range(start, stop)])
        tempting = weights[roles == "retrieval"][..., lookalikes].mean()
        assert 10 * weights[roles == "retrieval"][..., others].mean() < tempting < mass[roles == "retrieval"].mean()


def test_streaming_heads_read_sink_and_recent_tokens_and_mixed_ones_are_broader(drawn):
    for document, roles, weights in drawn[1]:
        assert 0.5 < (roles == "streaming").mean() < 0.7
        near = weights[..., 0] + weights[..., -128:].sum(-1)
        assert near[roles == "streaming"].mean() > 0.85
        broad = entropy(weights)
        assert 0.3 < broad[roles == "streaming"].mean() < 2.5
        assert broad[roles == "mixed"].mean() > broad[roles == "streaming"].mean() + 0.5
        assert broad.max() < 0.95 * np.log(document.tokens)


def test_successive_queries_resemble_each_other(drawn):
    for document, _, _ in drawn[1]:
        queries = document.layers[0].queries
        units = queries / np.linalg.norm(queries, axis=-1, keepdims=True)
        assert 0.75 < (units[:, :, 1:] * units[:, :, :-1]).sum(-1).mean() < 0.95


def test_keys_cluster_by_topic_in_runs(drawn):
    """Neighbours share a topic, so that their keys are closer than those of tokens one run of positions apart."""
    for document, _, _ in drawn[1]:
        keys = document.layers[0].keys[:, 1:]
        units = keys / np.linalg.norm(keys, axis=-1, keepdims=True)
        near = (units[:, 4:] * units[:, :-4]).sum(-1).mean()
        far = (units[:, 400:] * units[:, :-400]).sum(-1).mean()
        assert near > far + 0.03


def test_sizes_are_free_and_bad_ones_are_refused():
    (document,) = family("qwen3", SEEDS[0], 1, heads=2, tokens=300, layers=2, steps=3, queries=4, split="sealed")
    assert (document.tokens, document.steps, document.recorded, len(document.layers)) == (300, 3, 4, 2)
    assert document.layers[0].keys.shape == (2, 300, 128)
    with pytest.raises(UnknownName, match="llama3, qwen3"):
        family("llama4", SEEDS[0])
    with pytest.raises(BadInput, match="at least 128 tokens"):
        family("llama3", SEEDS[0], tokens=100)


# ------------------------------------------------------------------------------------------------------- stress


@pytest.fixture(scope="module")
def stressed():
    return {name: (stress(name, SEEDS[0]), attention(stress(name, SEEDS[0]))) for name in STRESS}


def kept(weights, count):
    """Mass of the `count` largest weights."""
    return -np.sort(-weights, -1)[..., :count].sum(-1).mean()


def test_stress_documents_are_deterministic_and_labelled(stressed, tmp_path):
    for name, (document, _) in stressed.items():
        assert document.kind == f"synthetic:{name}"
        assert stress(name, SEEDS[0]).hash == document.hash != stress(name, SEEDS[1]).hash
        traces.write(document, tmp_path / f"{name}.safetensors")
    with pytest.raises(UnknownName, match="'peaked'"):
        stress("peeked", SEEDS[0])


def test_peaked_and_flat_logits_stand_at_the_ends(stressed):
    assert kept(stressed["peaked"][1], 16) > 0.9
    assert kept(stressed["flat"][1], 128) < 0.3
    assert entropy(stressed["flat"][1]).min() > 0.95 * np.log(1016)


def test_strong_sinks_hold_nine_tenths_and_have_no_values(stressed):
    document, weights = stressed["sinks"]
    assert 0.8 < weights[..., :SINKS].sum(-1).mean() < 0.97
    norms = np.linalg.norm(document.layers[0].values, axis=-1)
    assert norms[:, :SINKS].max() < 0.1 * np.median(norms)


def test_outlier_channels_are_few_and_large(stressed):
    size = np.abs(stressed["outliers"][0].layers[0].keys).mean((0, 1))
    ordered = np.sort(size)[::-1]
    assert ordered[OUTLIERS - 1] > 10 * ordered[OUTLIERS]


def test_needles_are_single_tokens_far_apart_that_hold_their_steps(stressed):
    document, weights = stressed["needles"]
    places = weights.argmax(-1)
    assert (weights.max(-1) > 0.5).mean() > 0.9
    assert (places < document.prompt).all()
    assert all(len(np.unique(places[head])) == min(NEEDLES, document.steps) for head in range(len(places)))


def test_heads_of_a_group_disagree(stressed):
    weights = stressed["disagreement"][1]
    top = np.argsort(-weights, -1)[..., :16]
    shared = [
        len(np.intersect1d(top[head, one, 0], top[head, other, 0]))
        for head in range(top.shape[0]) for one in range(4) for other in range(one)
    ]  # fmt: skip
    assert np.mean(shared) < 2
    assert weights.max(-1).mean() < 0.5 < kept(weights, 64)


def test_a_key_offset_is_large_and_softmax_does_not_see_it(stressed):
    document, weights = stressed["offset"]
    layer = document.layers[0]
    mean = layer.keys.mean(1, keepdims=True)
    assert (np.linalg.norm(mean, axis=-1) > 5 * np.linalg.norm(layer.keys - mean, axis=-1).mean()).all()
    centred = type(document)(
        "c", "m", "t", "search", "c", 8, {0: type(layer)(layer.queries, layer.keys - mean, layer.values)}
    )
    np.testing.assert_allclose(attention(centred), weights, atol=1e-4)


def test_heavy_values_have_a_tail_of_norms(stressed):
    norms = np.linalg.norm(stressed["heavy-values"][0].layers[0].values, axis=-1)
    assert norms.max() > 20 * np.median(norms)
    assert np.sort(norms.ravel())[-20:].sum() > 0.05 * norms.sum()
