"""A decode step in plain sight: what a seed is given, what it read, and what its answer is worth."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vevolve import registry

Answer = tuple[torch.Tensor, ...]
NAMES = registry.seed_names("sparse_decode")


def tokens(count: int) -> SimpleNamespace:
    return SimpleNamespace(tokens=count, epsilon=None, delta=None)


def verified(epsilon: float, delta: float) -> SimpleNamespace:
    return SimpleNamespace(tokens=None, epsilon=epsilon, delta=delta)


class Cache:
    """Keys and values of the visible tokens; anything else raises. Remembers which keys and values were read."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self._keys, self._values, self.n = keys, values, keys.shape[1]
        self.read_keys = torch.zeros(keys.shape[:2], dtype=torch.bool)
        self.read_values = torch.zeros(keys.shape[:2], dtype=torch.bool)

    def keys(self, ids: torch.Tensor) -> torch.Tensor:
        return self._read(self._keys, self.read_keys, ids)

    def values(self, ids: torch.Tensor) -> torch.Tensor:
        return self._read(self._values, self.read_values, ids)

    def _read(self, store: torch.Tensor, read: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        assert ids.dtype == torch.long and ids.shape[0] == store.shape[0] and ids.ndim == 2
        assert ids.numel() == 0 or (int(ids.min()) >= 0 and int(ids.max()) < self.n)
        read.scatter_(1, ids, True)
        return store.gather(1, ids[..., None].expand(*ids.shape, store.shape[-1]))


class Index:
    """What `select` sees of an index: whole tensors, or rows of one."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        if ids.ndim == 1:
            return self._tensors[name][ids]
        return torch.stack([one[places] for one, places in zip(self._tensors[name], ids, strict=True)])


@dataclass
class Step:
    """One decode step. The index is built from the first `prompt` tokens; those after `n` are in the future."""

    query: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    prompt: int
    n: int
    layer: int = 0
    params: dict[str, torch.Tensor] = field(default_factory=dict)
    cache: Cache = field(init=False)

    def answer(self, seed: ModuleType, budget: SimpleNamespace, draw: int = 0) -> Answer:
        """What `seed` selects, folding every 64 generated tokens into its index first."""
        index: dict[str, torch.Tensor] = {}
        if hasattr(seed, "build"):
            index = self.built(seed, draw)
            for start in range(self.prompt, self.n - 64, 64):
                index = self.appended(seed, index, start, start + 64)
            assert all(tensor.numel() and tensor.ndim for tensor in index.values())
        self.cache = Cache(self.keys[:, : self.n], self.values[:, : self.n])
        given = {"layer": self.layer, "params": self.params, "rng": torch.Generator().manual_seed(draw)}
        return named(seed.select, query=self.query, index=Index(index), cache=self.cache, budget=budget, **given)

    def built(self, seed: ModuleType, draw: int = 0) -> dict[str, torch.Tensor]:
        """The index of the prompt, whose last queries are taken to be like the one that is asked."""
        keys, queries = self.keys[:, : self.prompt], self.query[:, :, None].expand(-1, -1, 8, -1)
        given = {"layer": self.layer, "params": self.params, "rng": torch.Generator().manual_seed(draw)}
        return named(seed.build, keys=keys, values=self.values[:, : self.prompt], queries=queries, **given)

    def appended(self, seed: ModuleType, index: dict[str, torch.Tensor], start: int, stop: int) -> dict[str, Any]:
        """The index with tokens from `start` to before `stop`."""
        new = {"keys": self.keys[:, start:stop], "values": self.values[:, start:stop]}
        return named(seed.append, index=index, layer=self.layer, params=self.params, **new)

    def sums(self, ids: torch.Tensor, prob: torch.Tensor, tail: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The weighted numerator [H, G, d] and denominator [H, G] of an answer, relative to the true row maximum."""
        logits, values = self.logits(), self.values[:, : self.n].double().numpy()
        numerator, denominator = np.zeros(self.query.shape), np.zeros(self.query.shape[:2])
        for h in range(len(ids)):
            kept = ids[h] >= 0
            chosen, weight = ids[h][kept].numpy(), 1 / prob[h][kept].double().numpy()
            w = np.exp(logits[h][:, chosen] - logits[h].max(axis=1, keepdims=True)) * weight
            denominator[h], numerator[h] = w.sum(axis=1), w @ values[h, chosen]
            if tail is not None:
                w = np.exp(tail[0][h].double().numpy() - logits[h].max(axis=1, keepdims=True))
                denominator[h] += w.sum(axis=1)
                numerator[h] += w @ tail[1][h].double().numpy()
        return numerator, denominator

    def logits(self) -> np.ndarray:
        """True logits [H, G, n] in float64."""
        query, keys = self.query.double().numpy(), self.keys[:, : self.n].double().numpy()
        return query @ keys.transpose(0, 2, 1) / np.sqrt(query.shape[-1])

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """The true numerator and denominator."""
        everything = torch.arange(self.n).expand(len(self.keys), -1)
        return self.sums(everything, torch.ones(everything.shape))


def named(function: Any, **given: Any) -> Any:
    """Call a function with those of the arguments that it names."""
    return function(**{name: given[name] for name in inspect.signature(function).parameters})


def draw(heads: int = 3, group: int = 3, n: int = 100, d: int = 16, prompt: int | None = None, seed: int = 0) -> Step:
    """Random keys with a few strong ones, so that heads have something to find, and 7 tokens of the future."""
    rng = torch.Generator().manual_seed(seed)
    query = torch.randn(heads, group, d, generator=rng)
    keys, values = torch.randn(2, heads, n + 7, d, generator=rng)
    keys = torch.where(torch.rand(heads, n + 7, 1, generator=rng) < 0.05, 2 * query[:, :1], keys)
    return Step(query, keys, values, max(n - 9, 1) if prompt is None else prompt, n)


def spiky(heads: int, n: int, d: int, seed: int) -> Step:
    """A few keys that hold half of the attention above many that share the rest: the case that sampling is for."""
    rng = torch.Generator().manual_seed(seed)
    query = torch.randn(heads, 1, d, generator=rng)
    keys, values = torch.randn(2, heads, n, d, generator=rng)
    keys, values = keys / 2, values + 1
    peaks = torch.rand(heads, n, generator=rng).topk(n // 100).indices
    strong = query * np.sqrt(d) * np.log(100) / query.pow(2).sum(dim=-1, keepdim=True)
    return Step(
        query,
        keys.scatter_add(1, peaks[..., None].expand(-1, -1, d), strong.expand(-1, n // 100, -1)),
        values,
        n - 1,
        n,
    )


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
        load=loader("sparse_decode"),
        tokens=tokens,
        verified=verified,
        named=named,
        draw=draw,
        spiky=spiky,
        Step=Step,
        Index=Index,
    )
