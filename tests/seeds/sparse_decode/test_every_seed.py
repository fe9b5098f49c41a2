"""What holds for every seed. A new file in the seeds' folder joins by itself."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from vevolve import registry
from vevolve.types import Candidate

SHAPES = [
    pytest.param({"heads": 3, "group": 3, "n": 100, "d": 16}, id="n100"),
    pytest.param({"heads": 2, "group": 1, "n": 63, "d": 20}, id="n63-G1-d20"),
    pytest.param({"heads": 1, "group": 5, "n": 200, "d": 8, "prompt": 64}, id="136-generated"),
    pytest.param({"heads": 3, "group": 2, "n": 7, "d": 16, "prompt": 3}, id="shorter-than-a-page"),
    pytest.param({"heads": 2, "group": 3, "n": 1, "d": 16, "prompt": 1}, id="one-token"),
]
BUDGETS = [1, 5, 33, 100]


def is_reference(seed):
    return getattr(seed, "REFERENCE", False)


def flat(answer):
    """The tensors of an answer, those of its tail among them."""
    return [tensor for part in answer for tensor in (part if isinstance(part, tuple) else [part])]


def is_random(seed):
    return "rng" in inspect.signature(seed.select).parameters


@pytest.mark.parametrize("shape", SHAPES)
def test_keeping_everything_is_dense_attention(lab, seed, shape):
    step = lab.draw(**shape)
    numerator, denominator = step.sums(*step.answer(seed, lab.tokens(2 * step.n)))
    dense = step.dense()
    torch.testing.assert_close(numerator / denominator[..., None], dense[0] / dense[1][..., None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_ids_are_distinct_and_visible_and_the_budget_is_spent_to_the_token(lab, seed, shape, budget, name):
    step = lab.draw(**shape)
    ids, prob, *tail = step.answer(seed, lab.tokens(budget))
    heads = len(step.keys)
    assert ids.dtype == torch.long and ids.ndim == 2 and ids.shape == prob.shape
    chosen = [row[row >= 0].tolist() for row in ids]
    assert all(len(row) == len(set(row)) and row and max(row) < step.n for row in chosen)
    assert bool((prob > 0).all()) and bool((prob <= 1).all()) and bool((ids >= -1).all())
    if name != "dense":
        assert sum(map(len, chosen)) == heads * min(budget, step.n)
    for log_weights, values in [part for part in tail if part is not None]:
        assert log_weights.shape == (*step.query.shape[:2], values.shape[1]) and values.shape[1] <= 64
        assert values.shape == (heads, values.shape[1], step.keys.shape[2]) and bool(values.isfinite().all())
        assert not bool(log_weights.isnan().any()) and not bool(log_weights.isposinf().any())


@pytest.mark.parametrize("budget", [5, 64])
def test_the_future_has_no_influence(lab, seed, budget):
    step = lab.draw(n=150)
    changed = lab.draw(n=150)
    changed.keys[:, 150:], changed.values[:, 150:] = torch.nan, torch.nan
    one, two = (each.answer(seed, lab.tokens(budget)) for each in (step, changed))
    assert all(torch.equal(*pair) for pair in zip(flat(one), flat(two), strict=True))


def test_an_answer_depends_on_the_arguments_alone(lab, seed):
    step, other = lab.draw(n=150), lab.draw(n=90, seed=5)
    first = step.answer(seed, lab.tokens(40), draw=3)
    other.answer(seed, lab.tokens(7), draw=4)
    again = step.answer(seed, lab.tokens(40), draw=3)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


def test_heads_are_treated_alike(lab, seed):
    if is_random(seed):
        pytest.skip("random draws go to heads by place")
    step, order = lab.draw(heads=4, n=120), torch.tensor([2, 0, 3, 1])
    moved = lab.Step(step.query[order].flip(1), step.keys[order], step.values[order], step.prompt, step.n)
    ids, moved_ids = (each.answer(seed, lab.tokens(40))[0] for each in (step, moved))
    assert [set(row.tolist()) for row in ids[order]] == [set(row.tolist()) for row in moved_ids]


@pytest.mark.parametrize("group", [1, 3])
def test_a_vector_added_to_all_keys_changes_nothing(lab, seed, group):
    if group > 1 and "bounds" in inspect.getsource(seed):
        pytest.skip("Quest takes the largest bound of a group, and each query head's bound moves by its own constant")
    step = lab.draw(group=group, n=120, d=16)
    grid = [(8 * tensor).round() / 8 for tensor in (step.query, step.keys)]  # exact in float16, so equality is exact
    shift = torch.randint(-8, 9, (len(step.keys), 1, 16), generator=torch.Generator().manual_seed(1)) / 4
    plain = lab.Step(*grid, step.values, step.prompt, step.n)
    moved = lab.Step(grid[0], grid[1] + shift, step.values, step.prompt, step.n)
    one, two = (each.answer(seed, lab.tokens(40)) for each in (plain, moved))
    assert torch.equal(one[0], two[0])
    angles = hasattr(seed, "chance")  # a probability that depends on rounded angles
    torch.testing.assert_close(one[1], two[1], rtol=1e-5 if angles else 0, atol=0)


@pytest.mark.parametrize("generated", [65, 129, 200])
@pytest.mark.parametrize("prompt", [48, 53])
def test_an_index_that_was_appended_to_chooses_as_one_of_the_whole_text(lab, seed, prompt, generated):
    """The naive twin of `append` builds anew on all that it has seen.

    A page that was part full is stood for by its corners, so both give the same bounds to float16. What a method fixes
    on the prompt (a codebook, channels, a mean to hash about) cannot be built anew: its twin keeps it, and takes all
    later tokens at once.
    """
    if not hasattr(seed, "append"):
        pytest.skip("has no append: its index holds nothing of what is generated")
    step = lab.draw(n=prompt + generated, prompt=prompt, seed=generated)
    folded = (generated - 1) // 64 * 64
    twin = lab.Step(step.query, step.keys, step.values, prompt + folded, step.n)
    first = grown = step.built(seed)
    for start in range(prompt, prompt + folded, 64):
        grown = step.appended(seed, grown, start, start + 64)
    frozen = [
        name for name in first if first[name].shape == grown[name].shape and torch.equal(first[name], grown[name])
    ]
    whole = step.appended(seed, first, prompt, prompt + folded) if frozen else twin.built(seed)
    assert set(frozen) <= {"mean", "codebook", "merged", "channels", "scale"}
    assert grown.keys() == whole.keys()
    assert all(torch.equal(grown[name], whole[name]) for name in whole if grown[name].dtype != torch.float16)
    for name in [name for name in whole if grown[name].dtype == torch.float16]:
        torch.testing.assert_close(grown[name], whole[name], rtol=0, atol=1e-2 if name == "values" else 0)
    if not frozen:
        one, two = (each.answer(seed, lab.tokens(40)) for each in (step, twin))
        assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))


def test_seeds_whose_index_depends_on_the_prompt_have_an_append(seed):
    assert hasattr(seed, "append") or not hasattr(seed, "build")


def test_references_and_no_others_read_every_key_or_attend_to_everything(lab, seed, name):
    step = lab.draw(n=400)
    step.answer(seed, lab.tokens(32))
    read = step.cache.read_keys.float().mean().item()
    assert read < 0.1 or read == 1
    assert is_reference(seed) == (read == 1 or name == "dense")


def test_verified_seeds_answer_at_every_bound(lab, seed):
    if not getattr(seed, "VERIFIED", False):
        pytest.skip("declares no VERIFIED = True")
    for shape in SHAPES:
        step = lab.draw(**shape.values[0])
        for epsilon in (0.05, 0.1, 0.25):
            ids, prob = step.answer(seed, lab.verified(epsilon, epsilon))
            kept = ids >= 0
            assert bool(((prob > 0) & (prob <= 1)).all()) and bool(kept.any(dim=1).all())
            assert all(len(set(row[row >= 0].tolist())) == int((row >= 0).sum()) for row in ids)


def test_shared_functions_have_the_same_arguments_everywhere():
    """Parts recombine only where a name means the same in every file."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for name in registry.seed_names("sparse_decode"):
        candidate = Candidate(registry.seed_path(f"sparse_decode/{name}").read_text())
        for function, signature in candidate.functions.items():
            if function not in ("build", "append", "select"):
                found.setdefault(function, set()).add(signature.names)
    assert {"score", "choose", "sample"} <= set(found)
    assert {name: shapes for name, shapes in found.items() if len(shapes) > 1} == {}


def test_imports_nothing_but_torch_and_math_and_cites_its_paper(name):
    text = Path(registry.seed_path(f"sparse_decode/{name}")).read_text()
    tree = ast.parse(text)
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(isinstance(node, ast.Import) for node in imported)
    assert {alias.name for node in imported for alias in node.names} <= {"torch", "math"}
    assert "arXiv:" in (ast.get_docstring(tree) or "")


@pytest.mark.parametrize("name", ["dense", "oracle_topk", "oracle_topk_tail", "oracle_topp", "vattention_oracle"])
def test_oracles_and_dense_are_references(name):
    candidate = Candidate(registry.seed_path(f"sparse_decode/{name}").read_text())
    assert candidate.constants.get("REFERENCE") is True


def test_the_double_sums_like_a_plain_loop(lab):
    step = lab.draw(heads=1, group=1, n=20)
    numerator, denominator = step.dense()
    q, k, v = (each[0].double().numpy() for each in (step.query, step.keys, step.values))
    logits = [float(q[0] @ k[i]) / 4 for i in range(20)]
    weights = [np.exp(s - max(logits)) for s in logits]
    assert np.isclose(denominator[0, 0], sum(weights))
    assert np.allclose(numerator[0, 0], sum(w * v[i] for i, w in enumerate(weights)))
