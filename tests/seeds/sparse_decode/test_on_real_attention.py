"""The order in which methods must stand on a recorded document."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vevolve import registry
from vevolve.evaluators.sparse_decode import traces

PRACTICAL = ["quest", "hash_attention", "lightning_indexer", "socket", "magicpig", "pqcache", "double_sparsity"]
TOKENS = 128


@pytest.fixture(scope="module")
def errors(lab):
    """Mean relative error of seeds at TOKENS tokens over three steps of two layers of a shipped document."""
    document = traces.read(next(path for path in traces.shipped("search") if path.stem == "prose-1"))

    def mean(name):
        from safetensors.torch import load_file

        file = registry.seed_path(f"sparse_decode/{name}").with_suffix(".safetensors")
        params, found = load_file(file) if file.is_file() else {}, []
        for number, layer in document.layers.items():
            keys, values = torch.from_numpy(layer.keys), torch.from_numpy(layer.values)
            for t in (0, 3, 6):
                query = torch.from_numpy(layer.queries[:, :, t - document.steps])
                step = lab.Step(query, keys, values, document.prompt, document.prompt + t + 1, number, params)
                numerator, denominator = step.sums(*step.answer(lab.load(name), lab.tokens(TOKENS)))
                dense = (lambda sums: sums[0] / sums[1][..., None])(step.dense())
                gap = np.linalg.norm(numerator / denominator[..., None] - dense, axis=-1)
                found.append(gap / np.linalg.norm(dense, axis=-1))
        return float(np.mean(found))

    names = [*PRACTICAL, "streaming_llm", "oracle_topk", "oracle_topp", "oracle_topk_tail", "pqcache_tail"]
    return {name: mean(name) for name in names}


def test_oracles_stand_above_every_practical_predictor(errors):
    assert all(errors[oracle] < errors[name] for oracle in ("oracle_topk", "oracle_topp") for name in PRACTICAL)


def test_practical_predictors_stand_above_sinks_and_window(errors):
    assert all(errors[name] < 0.8 * errors["streaming_llm"] for name in PRACTICAL)


def test_a_tail_lowers_the_error_of_what_it_is_added_to(errors):
    assert errors["oracle_topk_tail"] < 0.7 * errors["oracle_topk"]
    assert errors["pqcache_tail"] < 0.8 * errors["pqcache"]
