"""A context in plain sight: what a seed is given, and what it keeps."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vevolve import registry
from vevolve.evaluators.kv_eviction.contexts import Evidence
from vevolve.evaluators.kv_eviction.evict import Budget, evict
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, Seed

FOLDER = registry.seed_folder("kv_eviction")
NAMES = registry.seed_names("kv_eviction")
BASE = 1e4


def draw(
    heads: int = 3, group: int = 2, n: int = 90, d: int = 16, seed: int = 0, layers: tuple[int, ...] = (2, 5)
) -> dict[int, Evidence]:
    """Random layers with a sink and a few strong keys, so that heads have something to find."""
    rng = np.random.default_rng(seed)
    found = {}
    for layer in layers:
        queries = rng.standard_normal((heads, group, n, d))
        keys, values = rng.standard_normal((2, heads, n, d))
        strong = rng.random((heads, n, 1)) < 0.06
        strong[:, 0] = True
        keys = np.where(strong, 1.5 * queries.mean(axis=(1, 2))[:, None] * n**0.5 + keys, keys)
        own = rng.standard_normal((heads, n, d))  # keys of the second pass
        repeat = queries + 0.5 * rng.standard_normal(queries.shape)
        logits = np.einsum("hgrd,hmd->hgrm", repeat, own) / np.sqrt(d)
        logits[:, :, ~np.tri(n, dtype=bool)] = -np.inf
        mass = np.log(np.exp(logits).sum(axis=-1))
        wo = rng.standard_normal((heads, group, d, 10)) / 4
        given = (keys, values, queries, repeat, mass, wo)
        found[layer] = Evidence(*(np.ascontiguousarray(one, np.float32) for one in given))
    return found


def future(layers: dict[int, Evidence], steps: int = 6) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(9)
    return {
        layer: rng.standard_normal((*one.queries.shape[:2], steps, one.keys.shape[2])).astype(np.float32)
        for layer, one in layers.items()
    }


def keep(
    name: str, layers: dict[int, Evidence], tokens: int, *, depth: int = 8, seed: int = 0, base: float | None = BASE
) -> dict[int, list[set[int]]]:
    """The kept tokens by layer and head, through the function that every stage calls."""
    candidate = Candidate((FOLDER / f"{name}.py").read_text())
    n = next(iter(layers.values())).keys.shape[1]
    reference = candidate.constants.get("REFERENCE") is True
    with PlainSubject(candidate, "torch").fresh() as process:
        kept = evict(
            process, candidate, layers, Budget(Fraction(tokens, n), tokens), Seed(bytes([seed])),
            depth=depth, rope_base=base, future=future(layers) if reference else None,
        )  # fmt: skip
    return {layer: [set(rows.tolist()) for rows in heads] for layer, heads in kept.items()}


def scores(
    seed: ModuleType, one: Evidence, tokens: int, *, dtype: torch.dtype = torch.float64, **more: Any
) -> torch.Tensor:
    """The scores of one layer, from a fresh module, in float64 so that only real differences show."""
    n = one.keys.shape[1]
    given = {
        field: torch.from_numpy(getattr(one, field)).to(dtype)
        for field in ("keys", "values", "queries", "repeat", "repeat_mass", "wo")
    }
    given |= {
        "budget": SimpleNamespace(tokens=tokens, share=tokens / n), "layer": 2, "depth": 8, "rope_base": BASE,
        "params": {}, "rng": torch.Generator().manual_seed(0),
        "future": torch.from_numpy(future({0: one})[0]).to(dtype),
        **more,
    }  # fmt: skip
    function = seed.score
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype if dtype != torch.float16 else before)
    try:
        return function(**{word: given[word] for word in inspect.signature(function).parameters})
    finally:
        torch.set_default_dtype(before)


def moved(one: Evidence, **changes: Any) -> Evidence:
    return replace(one, **{name: np.ascontiguousarray(value, np.float32) for name, value in changes.items()})


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Every shipped seed; a new file joins by itself."""
    return str(request.param)


@pytest.fixture(scope="session")
def lab(loader: Callable[[str], Callable[[str], ModuleType]]) -> SimpleNamespace:
    """The functions of this file: test modules are imported by path and cannot import it."""
    load = loader("kv_eviction")
    return SimpleNamespace(
        load=load,
        draw=draw,
        keep=keep,
        scores=lambda name, *given, **named: scores(load(name), *given, **named),
        moved=moved,
        future=future,
        names=NAMES,
        base=BASE,
    )
