"""What the trained seeds learn from: attention of the offline model on texts of the `search` split, in all layers.

Passages of prose and code are drawn from the split's sources, needle prompts by RULER's rules, all with a seed of
their own: no shipped trace is used, though a passage may overlap with one of the search split's. No text of `select`
or `sealed` is read. Queries are kept at random positions and at the end, where answers are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vevolve.evaluators.sparse_decode import generate, models
from vevolve.types import Seed

SEED = Seed(b"vevolve/training/1")
PASSAGES = 12
NEEDLES = 4
TOKENS = 1_536
NEEDLE_TOKENS = 1_216
QUERIES = 96
LAST = 8
EARLIEST = 256
"""No query stands before this position: short contexts need no choice of tokens."""


@dataclass(frozen=True)
class Recording:
    """One document.

    Attributes:
        keys: float16 [L * H, N, d], the KV heads of all layers, after RoPE.
        queries: float16 [L * H, G, Q, d].
        positions: int64 [Q], where the queries stand.
        layers: L.
    """

    keys: torch.Tensor
    queries: torch.Tensor
    positions: torch.Tensor
    layers: int


def recordings(cache: Path | None = None) -> list[Recording]:
    """Record all documents, or read them back from the file `cache`, which is written where it does not exist."""
    if cache is not None and cache.is_file():
        return [Recording(**document) for document in torch.load(cache, weights_only=True)]
    found = list(_record())
    if cache is not None:
        torch.save([vars(document) for document in found], cache)
    return found


def _record() -> Iterator[Recording]:
    model = models.load()
    everywhere = range(model.depth)
    for kind in ("prose", "code"):
        for number in range(PASSAGES):
            yield _thin(
                generate.passage(
                    model,
                    kind,
                    SEED.derive(kind, number),
                    layers=everywhere,
                    split="search",
                    name=f"{kind}-{number}",
                    tokens=TOKENS,
                    queries=TOKENS,
                ),
                number,
            )
    for task in ("niah_single_2", "niah_multikey_1"):
        for number in range(NEEDLES):
            yield _thin(
                generate.needle(
                    model,
                    task,
                    SEED.derive(task, number),
                    layers=everywhere,
                    split="search",
                    name=f"{task}-{number}",
                    tokens=NEEDLE_TOKENS,
                    queries=NEEDLE_TOKENS // 2,
                ),
                number,
            )


def _thin(document, number: int) -> Recording:
    """Keep QUERIES of the recorded queries."""
    first = document.tokens - document.recorded
    draw = np.random.default_rng(SEED.derive("positions", document.name, number).integer)
    earlier = draw.choice(np.arange(max(EARLIEST, first), document.tokens - LAST), QUERIES - LAST, replace=False)
    positions = np.concatenate([np.sort(earlier), np.arange(document.tokens - LAST, document.tokens)])
    layers = document.layers.values()
    print(f"recorded {document.name}: {document.tokens} tokens of {document.text}", flush=True)
    return Recording(
        keys=torch.cat([torch.from_numpy(layer.keys).half() for layer in layers]),
        queries=torch.cat([torch.from_numpy(layer.queries[:, :, positions - first]).half() for layer in layers]),
        positions=torch.from_numpy(positions),
        layers=len(layers),
    )
