"""Made-up caches, ids and probabilities of odd shapes, the same for every kernel."""

from __future__ import annotations

import math

import pytest
import torch

from vevolve.kernels.cache import Cache

TOLERANCE = {torch.bfloat16: 1e-2, torch.float16: 1e-2, torch.float32: 1e-5}
"""Relative L2 error of an output."""
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(DEVICE == "cpu", reason="needs an NVIDIA GPU")]
"""Marks of a case of a size at which something shows that small ones hide, too large for the interpreter."""


def cache_of(
    lengths: tuple[int, ...], heads: int, width: int, dtype: torch.dtype, page: int | None = None, seed: int = 0
) -> Cache:
    """Normal keys and values. With a page, pages lie in random order and those in no use hold NaN."""
    rng = torch.Generator().manual_seed(seed)
    held = torch.tensor(lengths, dtype=torch.int32)
    if page is None:
        shape, table = (len(lengths), max(lengths), heads, width), None
    else:
        needed = math.ceil(max(lengths) / page)
        shape = (len(lengths) * needed + 3, page, heads, width)
        table = torch.randperm(shape[0], generator=rng)[: len(lengths) * needed].reshape(len(lengths), needed).int()
    keys, values = (torch.randn(shape, generator=rng) for _ in range(2))
    for b, length in enumerate(lengths):  # what lies beyond a sequence must not be read
        for tensor in (keys, values):
            if table is None:
                tensor[b, length:] = torch.nan
            else:
                tensor[table[b, math.ceil(length / page) :].long()] = torch.nan
                if length % page:
                    tensor[table[b, length // page].long(), length % page :] = torch.nan
    return Cache(
        keys.to(DEVICE, dtype), values.to(DEVICE, dtype), held.to(DEVICE), None if table is None else table.to(DEVICE)
    )


def query_of(cache: Cache, group: int, seed: int = 1) -> torch.Tensor:
    """Normal queries [B, H, G, d], wide enough that the softmax is not flat."""
    rng = torch.Generator().manual_seed(seed)
    return (1.5 * torch.randn(cache.batch, cache.heads, group, cache.width, generator=rng)).to(cache.keys)


def choose(cache: Cache, listed: int, group: int = 0, grain: int = 1, seed: int = 2) -> tuple[torch.Tensor, ...]:
    """Distinct ids below each length, -1 where there are too few, with log-probabilities: [B, H, m] or [B, H, G, m]."""
    rng = torch.Generator().manual_seed(seed)
    lists = (cache.heads, group) if group else (cache.heads,)
    ids = torch.full((cache.batch, *lists, listed), -1, dtype=torch.int32)
    for b, length in enumerate(cache.lengths.tolist()):
        flat = ids[b].view(-1, listed)
        for one in flat:
            drawn = torch.randperm(math.ceil(length / grain), generator=rng)[:listed]
            one[: len(drawn)] = drawn.int()
            one[:] = one[torch.randperm(listed, generator=rng)]
    log_prob = torch.log(torch.rand(ids.shape, generator=rng).clamp(min=0.01))
    return ids.to(DEVICE), log_prob.to(DEVICE)


def relative_error(found: torch.Tensor, truth: torch.Tensor) -> float:
    """The worst relative L2 error over heads, of [B, H, G, d]."""
    difference = (found.double() - truth).norm(dim=-1) / truth.norm(dim=-1)
    return float(difference.max())
