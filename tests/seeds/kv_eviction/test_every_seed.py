"""What holds for every seed. A new file in the seeds' folder joins by itself."""

from __future__ import annotations

import ast

import numpy as np
import pytest
import torch

from vevolve import registry
from vevolve.types import Candidate

SHAPES = [
    pytest.param({}, id="n90"),
    pytest.param({"heads": 2, "group": 1, "n": 63, "d": 20}, id="n63-G1-d20"),
    pytest.param({"heads": 1, "group": 5, "n": 37, "d": 8, "layers": (0,)}, id="one-layer-one-head-G5"),
    pytest.param({"heads": 5, "group": 3, "n": 21, "layers": (1, 4, 6)}, id="5-heads-3-layers-shorter-than-a-window"),
    pytest.param({"heads": 2, "n": 2}, id="two-tokens"),
]
BY_ATTENTION = {"h2o", "tova", "scissorhands", "snapkv", "pyramidkv", "adakv", "criticalkv", "lagkv", "oracle_future"}
WITHOUT_PLACE = {"knorm", "keydiff", "oracle_future", "kvzip", "kvcompose"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [1, 2, 5, 13, 30])
def test_the_budget_is_spent_to_the_token(lab, name, shape, tokens):
    layers = lab.draw(**shape)
    n = next(iter(layers.values())).keys.shape[1]
    tokens = min(tokens, n)
    kept = lab.keep(name, layers, tokens)
    assert list(kept) == list(layers)
    rows = [row for heads in kept.values() for row in heads]
    assert sum(map(len, rows)) == tokens * len(rows)
    assert all(row <= set(range(n)) for row in rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_budget_of_everything_keeps_everything(lab, name, shape):
    layers = lab.draw(**shape)
    n = next(iter(layers.values())).keys.shape[1]
    assert all(row == set(range(n)) for heads in lab.keep(name, layers, n).values() for row in heads)


def test_an_answer_depends_on_the_arguments_alone(lab, name):
    layers = lab.draw()
    first = lab.keep(name, layers, 20)
    lab.keep(name, lab.draw(seed=5), 7)
    assert lab.keep(name, layers, 20) == first
    if name == "random_tokens":
        assert lab.keep(name, layers, 20, seed=1) != first


def test_heads_are_treated_alike(lab, name):
    if name in ("random_tokens", "compactor"):
        pytest.skip("random draws go to heads by place")
    layers, order = lab.draw(heads=4), np.array([2, 0, 3, 1])
    swapped = {
        layer: lab.moved(one, **{
            field: getattr(one, field)[order] for field in ("keys", "values", "queries", "repeat", "repeat_mass", "wo")
        })
        for layer, one in layers.items()
    }  # fmt: skip
    if name == "oracle_future":
        pytest.skip("the coming queries of this file belong to heads by place")
    plain, other = lab.keep(name, layers, 20), lab.keep(name, swapped, 20)
    for layer in layers:
        assert [plain[layer][head] for head in order] == other[layer]


@pytest.mark.parametrize("name", sorted(WITHOUT_PLACE))
def test_tokens_that_change_places_are_scored_the_same(lab, name):
    one = lab.draw()[2]
    order = np.random.default_rng(1).permutation(90)
    if name == "kvzip":  # its first tokens stay as sinks
        order = np.concatenate([np.arange(4), 4 + np.random.default_rng(1).permutation(86)])
    other = lab.moved(one, keys=one.keys[:, order], values=one.values[:, order], queries=one.queries[:, :, order])
    torch.testing.assert_close(lab.scores(name, one, 20)[:, order], lab.scores(name, other, 20))


@pytest.mark.parametrize("name", sorted(BY_ATTENTION))
def test_a_vector_added_to_all_keys_changes_nothing(lab, name):
    one = lab.draw()[2]
    shift = 2 * np.random.default_rng(3).integers(-4, 5, (3, 1, 16)) / 8
    other = lab.moved(one, keys=(one.keys * 64).round() / 64 + shift)
    rounded = lab.moved(one, keys=(one.keys * 64).round() / 64)
    torch.testing.assert_close(lab.scores(name, rounded, 20), lab.scores(name, other, 20), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["knorm", "keydiff"])
def test_scores_of_norm_and_angle_do_depend_on_such_a_vector(lab, name):
    one = lab.draw()[2]
    other = lab.moved(one, keys=one.keys + 1)
    assert not torch.allclose(lab.scores(name, one, 20), lab.scores(name, other, 20))


@pytest.mark.parametrize("name", ["keydiff", "lagkv"])
def test_scores_do_not_depend_on_the_scale_of_the_keys(lab, name):
    one = lab.draw()[2]
    torch.testing.assert_close(
        lab.scores(name, one, 20), lab.scores(name, lab.moved(one, keys=4 * one.keys), 20), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("name", ["h2o", "tova", "scissorhands"])
def test_what_leaves_while_the_prompt_is_read_leaves_without_knowing_the_rest(lab, name):
    one, at = lab.draw()[2], 60
    keys, queries = one.keys.copy(), one.queries.copy()
    rng = np.random.default_rng(4)
    wish = rng.standard_normal((3, 1, 1, 16))
    queries[:, :, at:] = wish  # from here on all look for one token
    keys[:, at:] = rng.standard_normal((3, 30, 16))
    keys[:, at + 1] = 20 * wish[:, 0, 0]
    first, second = lab.scores(name, one, 20), lab.scores(name, lab.moved(one, keys=keys, queries=queries), 20)
    early = first < at
    assert bool(early.any(dim=1).all()) and not torch.equal(first, second)
    assert torch.equal(early, second < at) and torch.equal(first[early], second[early])


@pytest.mark.parametrize("name", ["h2o", "tova", "scissorhands"])
def test_exactly_the_budget_is_in_the_cache_when_the_prompt_ends(lab, name):
    left = lab.scores(name, lab.draw()[2], 20)
    assert left.isinf().sum(dim=1).tolist() == [20, 20, 20]


@pytest.mark.parametrize("n", [12, 90])
def test_keys_and_values_as_large_as_halves_can_be_do_not_overflow(lab, name, n):
    one = lab.draw(n=n)[2]
    large = lab.moved(one, keys=6e4 * one.keys / np.abs(one.keys).max(), values=6e4 * np.sign(one.values))
    found = lab.scores(name, large, 5, dtype=torch.float32)
    assert found.shape == (3, n) and not bool(found.isnan().any())


def test_knorm_computes_in_float32_where_it_is_given_halves(lab):
    one = lab.draw()[2]
    large = lab.moved(one, keys=(2e4 * np.sign(one.keys)).astype(np.float16) * np.linspace(0.5, 1, 90)[:, None])
    found = lab.scores("knorm", large, 20, dtype=torch.float16)
    assert bool(found.isfinite().all()) and all(len(set(row.tolist())) > 80 for row in found)


def test_an_unknown_rotary_base_is_no_rotation(lab):
    for name in ("expected_attention", "compactor"):
        kept = lab.keep(name, lab.draw(), 20, base=None)
        assert all(len(row) > 0 for heads in kept.values() for row in heads)


def test_shared_functions_have_the_same_arguments_everywhere():
    """Parts recombine only where a name means the same in every file."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for name in registry.seed_names("kv_eviction"):
        candidate = Candidate(registry.seed_path(f"kv_eviction/{name}").read_text())
        for function, signature in candidate.functions.items():
            if function not in ("score", "allot"):
                found.setdefault(function, set()).add(signature.names)
    assert {"observe", "pool", "rotate", "recall"} <= set(found)
    assert {name: shapes for name, shapes in found.items() if len(shapes) > 1} == {}


def test_imports_nothing_but_torch_and_cites_its_paper_on_a_page(name):
    text = registry.seed_path(f"kv_eviction/{name}").read_text()
    tree = ast.parse(text)
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(isinstance(node, ast.Import) for node in imported)
    assert {alias.name for node in imported for alias in node.names} <= {"torch", "math"}
    assert "arXiv:" in (ast.get_docstring(tree) or "")
    assert len(text.splitlines()) <= 100


def test_the_seeds_are_those_of_the_field_and_only_the_oracle_is_a_reference(lab):
    assert {
        "streaming_llm", "h2o", "scissorhands", "snapkv", "pyramidkv", "adakv", "tova", "keydiff", "knorm",
        "expected_attention", "lagkv", "compactor", "criticalkv", "kvcompose", "kvzip", "random_tokens",
    } <= set(lab.names)  # fmt: skip
    texts = {name: Candidate(registry.seed_path(f"kv_eviction/{name}").read_text()) for name in lab.names}
    assert [name for name in lab.names if texts[name].constants.get("REFERENCE") is True] == ["oracle_future"]
    assert [name for name in lab.names if texts[name].constants.get("REANCHOR") is True] == ["streaming_llm"]
