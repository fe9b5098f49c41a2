"""What holds for every seed. A new file in the seeds' folder joins by itself."""

from __future__ import annotations

import ast
import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vevolve import registry
from vevolve.evaluators.kv_quantization.workload import CAPS
from vevolve.types import Candidate

SHAPES = [
    pytest.param({"heads": 3, "n": 1000, "d": 64}, id="n1000"),
    pytest.param({"heads": 1, "n": 777, "d": 128}, id="n777-H1-d128"),
    pytest.param({"heads": 2, "n": 601, "d": 36}, id="n601-d36"),
]
SMALL = [
    pytest.param({"heads": 2, "n": 7, "d": 64}, id="shorter-than-a-window"),
    pytest.param({"heads": 1, "n": 1, "d": 64}, id="one-token"),
    pytest.param({"heads": 1, "n": 33, "d": 7}, id="odd-width"),
    pytest.param({"heads": 3, "n": 2, "d": 16}, id="two-tokens"),
]
SEEDS: dict = {}
WITH_PACK = [name for name in registry.seed_names("kv_quantization") if name != "float16"]


def is_reference(seed):
    return getattr(seed, "REFERENCE", False)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cap", CAPS)
def test_a_code_is_within_the_cap_and_its_size_is_known_beforehand_to_the_byte(lab, seed, shape, cap):
    keys, values = lab.draw(**shape)
    code = lab.encode(seed, keys, values, cap)
    bits = 8 * lab.charged(code) / (2 * keys.numel())
    assert all(tensor.ndim == 1 and tensor.numel() for tensor in code.values()) or is_reference(seed)
    if is_reference(seed):
        assert bits == pytest.approx(16, abs=0.02)
        return
    setting = seed.plan(list(keys.shape), SimpleNamespace(bits=cap))
    assert {name: tensor.nbytes for name, tensor in code.items()} == seed.layout(list(keys.shape), setting)
    assert bits == pytest.approx(seed.rate(list(keys.shape), setting), rel=1e-12)
    assert cap - 1.3 < bits <= cap


@pytest.mark.parametrize("shape", SHAPES)
def test_what_comes_back_has_the_shape_and_nears_the_truth_with_every_cap(lab, seed, shape):
    keys, values = lab.draw(**shape)
    off = []
    for cap in CAPS:
        found = lab.through(seed, keys, values, cap)
        assert all(x.shape == keys.shape and x.dtype == torch.float32 for x in found)
        off.append([float((x - true).norm() / true.norm()) for x, true in zip(found, (keys, values), strict=True)])
    for few, many in itertools.pairwise(off):
        assert is_reference(seed) or all(more < 0.75 * less for less, more in zip(few, many, strict=True))
    assert max(off[-1]) < 0.02


@pytest.mark.parametrize("shape", SMALL)
def test_small_and_odd_prompts_are_handled_where_there_are_bits_for_headers(lab, seed, shape):
    keys, values = lab.draw(**shape)
    found = lab.through(seed, keys, values, 400.0)
    for x, true in zip(found, (keys, values), strict=True):
        assert x.shape == true.shape
        assert float((x - true).norm() / true.norm()) < 0.05


def test_a_budget_that_nothing_fits_gives_one_clear_line(lab, seed):
    if is_reference(seed):
        pytest.skip("a reference is not held to the cap")
    keys, values = lab.draw(n=40)
    with pytest.raises(ValueError, match=r"no setting fits 0.5 bits per element at shape \[3, 40, 64\]; the leanest"):
        lab.encode(seed, keys, values, 0.5)


@pytest.mark.parametrize("scale", [1e6, 1e-9, 0.0])
def test_half_precision_neither_overflows_nor_divides_by_nothing(lab, seed, scale):
    keys, values = lab.draw(n=200)
    found = lab.through(seed, scale * keys, scale * values, 4.75)
    assert all(bool(x.isfinite().all()) for x in found)
    assert all(float(x.abs().max()) <= 12 * max(scale, 1e-6) * float(keys.abs().max()) for x in found)


def test_a_constant_cache_comes_back(lab, seed):
    keys, values = torch.full((2, 300, 64), 1.5), torch.full((2, 300, 64), -0.25)
    found = lab.through(seed, keys, values, 8.75, base=None)
    assert float((found[0] - keys).norm() / keys.norm()) < 0.02
    assert float((found[1] - values).norm() / values.norm()) < 0.02


def test_heads_are_treated_alike(lab, seed):
    keys, values = lab.draw(heads=4, n=200)
    order = torch.tensor([2, 0, 3, 1])
    plain = lab.through(seed, keys, values, 4.75)
    moved = lab.through(seed, keys[order], values[order], 4.75)
    for one, two in zip(plain, moved, strict=True):
        assert float((one[order] - two).norm() / one.norm()) < 0.002


def test_a_code_depends_on_its_arguments_alone(lab, seed):
    keys, values = lab.draw(n=200)
    first = lab.encode(seed, keys, values, 3.75, draw=3)
    lab.through(seed, *lab.draw(n=90, seed=5), 6.75, draw=4)
    again = lab.encode(seed, keys, values, 3.75, draw=3)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("name", WITH_PACK)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), bits=st.integers(1, 8))
def test_packing_is_undone_and_is_a_stream_of_bits(lab, name, data, bits):
    seed = SEEDS.get(name) or SEEDS.setdefault(name, lab.load(name))
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=40))
    packed = seed.pack(torch.tensor(codes), bits)
    assert packed.dtype == torch.uint8 and packed.numel() == -(-len(codes) // 8) * bits
    stream = int.from_bytes(bytes(packed.tolist()), "little")
    assert stream == sum(code << (bits * place) for place, code in enumerate(codes))
    assert seed.unpack(packed, bits, len(codes)).tolist() == codes


def test_shared_functions_have_the_same_arguments_and_text_everywhere():
    """Parts recombine only where a name means the same in every file."""
    names: dict[str, set] = {}
    for name in registry.seed_names("kv_quantization"):
        candidate = Candidate(registry.seed_path(f"kv_quantization/{name}").read_text())
        for node in candidate.tree.body:
            if isinstance(node, ast.FunctionDef) and node.name not in ("encode", "decode", "layout"):
                names.setdefault(node.name, set()).add(ast.dump(node))
    assert {"pack", "unpack", "plan", "rate", "half", "quantise", "dequantise", "rotate", "nearest", "lloyd"} <= set(
        names
    )
    assert {name for name, bodies in names.items() if len(bodies) > 1} == set()


def test_imports_little_and_cites_its_paper(name):
    tree = ast.parse(registry.seed_path(f"kv_quantization/{name}").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(isinstance(node, ast.Import) for node in imported)
    assert {alias.name for node in imported for alias in node.names} <= {"torch", "math", "itertools"}
    assert "arXiv:" in (ast.get_docstring(tree) or "")


def test_the_cache_as_it_is_is_the_only_reference_and_product_mode_the_only_claim():
    marked = {"REFERENCE": set(), "UNBIASED": set()}
    for name in registry.seed_names("kv_quantization"):
        constants = Candidate(registry.seed_path(f"kv_quantization/{name}").read_text()).constants
        for word, names in marked.items():
            names |= {name} if constants.get(word) is True else set()
    assert marked == {"REFERENCE": {"float16"}, "UNBIASED": {"turboquant_prod"}}


@pytest.mark.parametrize(
    ("name", "setting", "bits"),
    [
        ("int4", 4, 4.25),
        ("kivi", (2, 32, 0), 3.0),
        ("kivi", (4, 128, 0), 4.25),
        ("turboquant_mse", 2, 2.125),
        ("turboquant_prod", 3, 3 + (32 / 128 + 16 / 128) / 2),
    ],
)
def test_at_width_128_a_code_costs_what_the_published_formula_says(lab, name, setting, bits):
    seed = lab.load(name)
    seed.SETTINGS = (setting,)
    keys, values = lab.draw(heads=1, n=1024, d=128)
    code = lab.encode(seed, keys, values, 16.0)
    assert 8 * sum(tensor.nbytes for tensor in code.values()) == bits * 2 * 1024 * 128
    assert math.isclose(seed.rate([1, 1024, 128], setting), bits, abs_tol=0.01)
