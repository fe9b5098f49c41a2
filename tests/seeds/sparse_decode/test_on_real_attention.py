"""The order in which methods must stand on a recorded document."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from vevolve import registry
from vevolve.evaluators.sparse_decode import traces

PRACTICAL = ["quest", "hash_attention", "lightning_indexer", "socket", "magicpig", "pqcache", "double_sparsity"]
SAMPLED = [
    "vattention",
    "vattention_tight",
    *(f"vattention_{predictor}" for predictor in ("hash", "lightning", "socket", "pqcache", "double_sparsity")),
]
TOKENS = 128


@pytest.fixture(scope="module")
def measure(lab):
    """Mean relative error of a seed at a token budget over three steps of two layers of a shipped document."""
    document = traces.read(next(path for path in traces.shipped("search") if path.stem == "prose-1"))

    @functools.cache
    def mean(name, tokens=TOKENS):
        from safetensors.torch import load_file

        file = registry.seed_path(f"sparse_decode/{name}").with_suffix(".safetensors")
        params, found = load_file(file) if file.is_file() else {}, []
        for number, layer in document.layers.items():
            keys, values = torch.from_numpy(layer.keys), torch.from_numpy(layer.values)
            for t in (0, 3, 6):
                query = torch.from_numpy(layer.queries[:, :, t - document.steps])
                step = lab.Step(query, keys, values, document.prompt, document.prompt + t + 1, number, params)
                numerator, denominator = step.sums(*step.answer(lab.load(name), lab.tokens(tokens)))
                dense = (lambda sums: sums[0] / sums[1][..., None])(step.dense())
                gap = np.linalg.norm(numerator / denominator[..., None] - dense, axis=-1)
                found.append(gap / np.linalg.norm(dense, axis=-1))
        return float(np.mean(found))

    return mean


@pytest.fixture(scope="module")
def errors(measure):
    """Of seeds at TOKENS tokens."""
    names = [*PRACTICAL, "streaming_llm", "oracle_topk", "oracle_topp", "oracle_topk_tail", "pqcache_tail"]
    return {name: measure(name) for name in names}


def test_oracles_stand_above_every_practical_predictor(errors):
    assert all(errors[oracle] < errors[name] for oracle in ("oracle_topk", "oracle_topp") for name in PRACTICAL)


def test_practical_predictors_stand_above_sinks_and_window(errors):
    assert all(errors[name] < 0.8 * errors["streaming_llm"] for name in PRACTICAL)


@pytest.mark.parametrize("name", SAMPLED)
def test_with_a_sample_beside_it_a_predictor_stands_above_sinks_and_window_from_256_tokens_on(measure, name):
    """At 128 tokens a sample of 64 is too thin for that over some predictors; the page of methods says why."""
    assert measure(name, 256) < 0.7 * measure("streaming_llm", 256)
    assert measure(name, 512) < 0.4 * measure("streaming_llm", 512)


def test_half_a_sample_costs_the_oracle_less_where_the_sample_is_larger(measure):
    """Against oracle top-k alone. That it overtakes it at 512 tokens is seen on the whole split, on the board."""
    few, many = (measure("vattention_oracle", tokens) / measure("oracle_topk", tokens) for tokens in (64, 512))
    assert many < 0.75 * few


def test_a_tail_lowers_the_error_of_what_it_is_added_to(errors):
    assert errors["oracle_topk_tail"] < 0.7 * errors["oracle_topk"]
    assert errors["pqcache_tail"] < 0.8 * errors["pqcache"]
