"""A quantiser in plain sight: its code, the bytes of it, and what comes back."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from vevolve import registry

NAMES = registry.seed_names("kv_quantization")


def named(function: Any, **given: Any) -> Any:
    """Call a function with those of the arguments that it names."""
    return function(**{name: given[name] for name in inspect.signature(function).parameters})


def shared(draw: int) -> torch.Generator:
    """What both sides draw from. Not a seed that keys or values are drawn from: a rotation must not know them."""
    return torch.Generator().manual_seed(10_000 + draw)


def common(keys: torch.Tensor, bits: float, base: float | None, draw: int) -> dict[str, Any]:
    n = keys.shape[1]
    return {
        "age": torch.arange(n - 1, -1, -1),
        "shape": list(keys.shape),
        "layer": 0,
        "budget": SimpleNamespace(bits=bits),
        "rope_base": base,
        "params": {},
        "rng": shared(draw),
    }


def encode(
    seed: ModuleType, keys: torch.Tensor, values: torch.Tensor, bits: float, base: float | None = 1e4, draw: int = 0
) -> dict[str, torch.Tensor]:
    return named(seed.encode, keys=keys.clone(), values=values.clone(), **common(keys, bits, base, draw))


def decode(
    seed: ModuleType,
    code: dict[str, torch.Tensor],
    keys: torch.Tensor,
    bits: float,
    base: float | None = 1e4,
    draw: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a code decodes to; `keys` gives its shape alone."""
    fresh = {name: tensor.clone() for name, tensor in code.items()}
    return named(seed.decode, code=fresh, **common(torch.empty(keys.shape), bits, base, draw))


def through(
    seed: ModuleType, keys: torch.Tensor, values: torch.Tensor, bits: float, base: float | None = 1e4, draw: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    return decode(seed, encode(seed, keys, values, bits, base, draw), keys, bits, base, draw)


def charged(code: dict[str, torch.Tensor]) -> int:
    """Bytes on the wire: a count; then for each tensor its name, its dtype and its dimensions."""
    return 2 + sum(3 + len(name) + 8 * tensor.ndim + tensor.nbytes for name, tensor in code.items())


def draw(heads: int = 3, n: int = 100, d: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys with a large channel and a sink, and values."""
    rng = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, heads, n, d, generator=rng)
    keys[..., d // 3] += 6
    keys[:, 0] *= 3
    return keys, values


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Every shipped seed; a new file joins by itself."""
    return str(request.param)


@pytest.fixture
def seed(name: str, lab: SimpleNamespace) -> ModuleType:
    return lab.load(name)


@pytest.fixture(scope="session")
def lab(loader: Callable[[str], Callable[[str], ModuleType]]) -> SimpleNamespace:
    """The functions of this file: test modules are imported by path and cannot import it."""
    return SimpleNamespace(
        load=loader("kv_quantization"),
        encode=encode,
        decode=decode,
        through=through,
        charged=charged,
        draw=draw,
        named=named,
        shared=shared,
    )
