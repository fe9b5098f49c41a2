"""Dense prefills: what every layer of a model holds of a context, before a question is seen. Kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from vevolve.errors import BadInput
from vevolve.evaluators.sparse_decode import recorder
from vevolve.evaluators.sparse_decode.models import Model
from vevolve.evaluators.sparse_decode.traces import FLOAT16_MAX

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]

FORMAT = 2
"""Of what stands on disk; raised whenever it changes, so that older files are not read."""
KEPT = 48
"""Prefills that stay on disk; the oldest go first. About 60 MB each at 1,000 tokens of SmolLM2-135M."""


@dataclass(frozen=True)
class Held:
    """What one layer holds of a context of n tokens, rounded to float16, which is the dense model here too.

    Attributes:
        queries: after RoPE, float32 [H, G, n, d].
        keys: after RoPE, float32 [H, n, d].
        values: float32 [H, n, d].
    """

    queries: Floats
    keys: Floats
    values: Floats


@dataclass(frozen=True)
class Context:
    """A context after a dense prefill.

    Attributes:
        model: the model that read it.
        ids: its tokens.
        layers: what each layer holds.
    """

    model: Model
    ids: tuple[int, ...]
    layers: Mapping[int, Held]

    @property
    def hash(self) -> str:
        """Names the context: of the model's name and the tokens. Candidates' randomness follows from it."""
        return hashlib.sha256(json.dumps([self.model.name, "context", list(self.ids)]).encode()).hexdigest()

    def remember(self, what: str, run: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Tensors that depend on model, tokens and the name `what` alone: from disk, or computed and kept there."""
        return _stored(_key(self.model, self.ids, what), run)


def prefill(model: Model, ids: Sequence[int]) -> Context:
    """Run a model densely over a context, or read from disk what an earlier run left.

    Raises `BadInput` where a query, key or value is no finite float16.
    """

    def run() -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        for layer, (query, key, value) in recorder.capture(model, ids, list(range(model.depth))).items():
            found[f"q.{layer}"] = _grouped(query, key)
            found[f"k.{layer}"] = np.ascontiguousarray(key.half().cpu().numpy())
            found[f"v.{layer}"] = np.ascontiguousarray(value.half().cpu().numpy())
        for name, tensor in found.items():
            if not np.isfinite(tensor).all():
                raise BadInput(
                    f"{model.name}: {name}: expected values within ±{FLOAT16_MAX:.0f}, since prefills are kept as"
                    f" float16; found {np.count_nonzero(~np.isfinite(tensor))} beyond, or no numbers."
                )
        return found

    stored = _stored(_key(model, ids, "context"), run)
    layers = {
        layer: Held(*(np.ascontiguousarray(stored[f"{name}.{layer}"], dtype=np.float32) for name in "qkv"))
        for layer in range(model.depth)
    }
    return Context(model, tuple(ids), layers)


def folder() -> Path:
    """Where prefills are kept: `prefills` below $VEVOLVE_CACHE, or below the user's cache folder."""
    named = os.environ.get("VEVOLVE_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vevolve"
    return base / "prefills"


def _key(model: Model, ids: Sequence[int], what: str) -> str:
    """What a file on disk is called: another model of the same name has files of its own."""
    text = json.dumps([FORMAT, model.name, model.digest, what, list(ids)])
    return hashlib.sha256(text.encode()).hexdigest()


def _grouped(query: torch.Tensor, key: torch.Tensor) -> NDArray[np.float16]:
    """Queries [Hq, n, d] as float16 [H, G, n, d]."""
    rows: NDArray[np.float16] = query.half().cpu().numpy()
    return np.ascontiguousarray(rows.reshape(key.shape[0], -1, *rows.shape[1:]))


def _stored(name: str, run: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Tensors from disk, or computed and written whole: a file appears under its name only once it is complete.

    They must be contiguous: safetensors writes the memory under a view, not what the view shows.
    """
    path = folder() / f"{name}.safetensors"
    try:
        found = load_file(path)
        os.utime(path)
        return found
    except (OSError, SafetensorError):
        pass
    tensors = run()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time alone
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            pass
        save_file(tensors, part.name)
        Path(part.name).replace(path)
        for old in sorted(path.parent.glob("*.safetensors"), key=lambda each: each.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    return tensors
