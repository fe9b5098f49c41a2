"""Contexts: what a prompt left in the cache, what it was asked with, and what came after, one document a file.

A file is a trace of `sparse_decode` (queries, keys and values after RoPE, float16, safetensors) whose decode steps are
what follows the prompt: a question and its answer, or how the text goes on. The prompt is the *context*, n = N - S
tokens. Where T = N, as `vevolve traces record --queries N` writes it, that is all. The files that ship hold the queries
of the last S positions only and, for each layer, four tensors more:

    p.{layer} int8 [H, G, n, d], p.{layer}.scale float16 [H, G, n]   queries of the context
    r.{layer} int8 [H, G, n, d], r.{layer}.scale float16 [H, G, n]   queries of a second pass over the context
    m.{layer} float32 [H, G, n]                                      log-mass of that pass's own tokens

Queries of the context are evidence to score with, so one byte a number does (a vector's largest number is 127 scales:
about 1 % of error); all that errors are measured with is float16. In the second pass the model reads the context, the
words of `REPEAT`, and the context again; `r` are the queries of the repetition, and `m` is the log of the sum of
exp(q k / sqrt(d)) over the tokens after the first context that each of them sees. Notes hold `answer_steps`, how many
of the last steps predict an answer (absent: all), and `model_layers`, how many layers the model has.

Output projections are the same for every document of a model, so they ship once, in `projections.safetensors`
(`wo.{layer}` int8 [H, G, d, D], `wo.{layer}.scale` float16 [H, G, d]); a file's own `wo.{layer}` comes first.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vevolve.errors import BadTrace, UnknownName
from vevolve.evaluators.sparse_decode import traces
from vevolve.evaluators.sparse_decode.traces import FLOAT16_MAX, Document, Floats

SHIPPED = Path(__file__).parent / "traces"
PROJECTIONS = SHIPPED / "projections.safetensors"
REPEAT = "\n\nRepeat the previous context exactly.\n"
"""What stands between the context and its repetition, as in KVzip (Kim et al. 2025, arXiv:2505.23416)."""
_EXTRA = "prm"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a candidate may score the tokens of one layer's context with, float32.

    Attributes:
        keys: [H, n, d], after RoPE.
        values: [H, n, d].
        queries: [H, G, n, d], of every position of the context; query head h * G + g of the model reads KV head h.
        repeat: [H, G, r, d], queries of a second pass over the context, or None.
        repeat_mass: [H, G, r], log of the sum of exp(logit) over that pass's own tokens, or None.
        wo: [H, G, d, D], what each query head's output is multiplied by, or None.
    """

    keys: Floats
    values: Floats
    queries: Floats
    repeat: Floats | None = None
    repeat_mass: Floats | None = None
    wo: Floats | None = None


@dataclass(frozen=True, eq=False)
class Context:
    """A document, and the evidence of each of its layers."""

    document: Document
    evidence: Mapping[int, Evidence]

    @property
    def depth(self) -> int:
        """How many layers the model has; where notes do not say, those up to the last one here."""
        return int(self.document.notes.get("model_layers", max(self.document.layers) + 1))

    @property
    def answer_steps(self) -> int:
        """How many of the last steps predict the answer."""
        return min(int(self.document.notes.get("answer_steps", self.document.steps)), self.document.steps)


def shipped(split: str) -> list[Path]:
    """The contexts that come with vEvolve for "search" or "select", sorted by name.

    Raises:
        UnknownName: none are shipped for that split.
    """
    if split not in ("search", "select"):
        raise UnknownName("shipped split", split, ["search", "select"])
    return sorted((SHIPPED / split).glob("*.safetensors"))


def context(document: Document, extra: Mapping[str, Floats] | None = None, path: Path | str = "") -> Context:
    """A context from a document that holds the query of every position, or lacks those that `extra` holds.

    Args:
        document: as a trace holds it.
        extra: `p.{layer}`, `r.{layer}` and `m.{layer}`, unpacked, where they are known.
        path: what an error names.

    Raises:
        BadTrace: queries of the context are missing, shapes do not fit, or keys and values do not fit float16.
    """
    extra, where = extra or {}, str(path or document.name)
    return Context(document, {index: _evidence(document, index, extra, where) for index in document.layers})


def read(path: Path) -> Context:
    """Read and check a context.

    Raises:
        BadTrace: one line that names file, tensor, what was expected and what was found.
    """
    path = Path(path)
    if not path.is_file():
        raise BadTrace(f"{path}: expected a context, a .safetensors file; found no such file.")
    metadata, stored = _open(path)
    if not any(name[0] in _EXTRA for name in stored):
        return context(traces.read(path), path=path)
    tensors = _unpack(stored)
    extra = {name: tensor for name, tensor in tensors.items() if name[0] in _EXTRA}
    plain = {name: tensor for name, tensor in tensors.items() if name not in extra}
    return context(traces.assemble(path, metadata, plain), extra, path)


def write(found: Context, path: Path) -> None:
    """Write a context in the compact form, without `wo`, readable by all."""
    document, tensors = found.document, dict[str, NDArray[Any]]()
    for index, evidence in found.evidence.items():
        layer = document.layers[index]
        tensors[f"q.{index}"] = layer.queries[:, :, -document.steps :].astype(np.float16)
        tensors[f"k.{index}"] = layer.keys.astype(np.float16)
        tensors[f"v.{index}"] = layer.values.astype(np.float16)
        tensors |= _pack(f"p.{index}", evidence.queries)
        if evidence.repeat is not None and evidence.repeat_mass is not None:
            tensors |= _pack(f"r.{index}", evidence.repeat)
            tensors[f"m.{index}"] = evidence.repeat_mass.astype(np.float32)
    metadata = {
        **document.notes, "name": document.name, "model": document.model, "text": document.text,
        "tokens": str(document.tokens), "split": document.split, "kind": document.kind, "steps": str(document.steps),
    }  # fmt: skip
    if document.rope_base is not None:
        metadata["rope_base"] = repr(float(document.rope_base))
    if document.needle is not None:
        metadata["needle"] = f"{document.needle[0]}:{document.needle[1]}"
    _save(tensors, path, metadata)


def write_projections(model: str, layers: Mapping[int, Floats], path: Path = PROJECTIONS) -> None:
    """Write the output projections [H, G, d, D] of a model's layers."""
    tensors: dict[str, NDArray[Any]] = {}
    for index, wo in layers.items():
        tensors |= _pack(f"wo.{index}", wo)
    _save(tensors, path, {"model": model})


@functools.cache
def projections() -> tuple[str, Mapping[int, Floats]]:
    """The model whose output projections ship, and those of its layers, [H, G, d, D]."""
    if not PROJECTIONS.is_file():
        return "", {}
    metadata, stored = _open(PROJECTIONS)
    found = {int(name.partition(".")[2]): tensor for name, tensor in _unpack(stored).items()}
    return metadata["model"], found


# ---------------------------------------------------------------------------------------------------------- packing


def _pack(name: str, tensor: Floats) -> dict[str, NDArray[Any]]:
    """Vectors as int8 with one float16 scale each."""
    scale = np.maximum(np.abs(tensor).max(axis=-1) / 127, 1e-6).astype(np.float16)
    codes = np.rint(tensor / scale[..., None].astype(np.float32)).clip(-127, 127)
    return {name: codes.astype(np.int8), f"{name}.scale": scale}


def _unpack(stored: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Every tensor as float32, scales applied."""
    found: dict[str, Floats] = {}
    for name, tensor in stored.items():
        if name.endswith(".scale"):
            continue
        found[name] = tensor.astype(np.float32)
        scale = stored.get(f"{name}.scale")
        if scale is not None and scale.shape == tensor.shape[:-1]:
            found[name] *= scale[..., None].astype(np.float32)
    return found


def _open(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:
        raise BadTrace(f"{path}: expected a safetensors file; found one that cannot be parsed: {error}.") from error


def _save(tensors: Mapping[str, NDArray[Any]], path: Path, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path, metadata)
    path.chmod(0o644)


# --------------------------------------------------------------------------------------------------------- checking


def _evidence(document: Document, index: int, extra: Mapping[str, Floats], where: str) -> Evidence:
    """The evidence of one layer; queries from the document itself where `extra` holds none."""
    layer, n = document.layers[index], document.prompt
    heads, group, _, width = layer.queries.shape
    if (queries := extra.get(f"p.{index}")) is None:
        if document.recorded < document.tokens:
            raise BadTrace(
                f"{where}: q.{index}: expected the queries of all {document.tokens} tokens, which eviction scores "
                f"with; found {document.recorded}. Record it with --queries {document.tokens}."
            )
        queries = layer.queries[:, :, :n]
    model, shared = projections()
    wo = layer.wo if layer.wo is not None or model != document.model else shared.get(index)
    found = Evidence(
        keys=np.ascontiguousarray(layer.keys[:, :n]),
        values=np.ascontiguousarray(layer.values[:, :n]),
        queries=np.ascontiguousarray(queries),
        repeat=extra.get(f"r.{index}"),
        repeat_mass=extra.get(f"m.{index}"),
        wo=wo,
    )
    passes = 0 if found.repeat is None or found.repeat.ndim != 4 else found.repeat.shape[2]
    expected = {
        "p": (found.queries, (heads, group, n, width)),
        "r": (found.repeat, (heads, group, passes, width)),
        "m": (found.repeat_mass, (heads, group, passes)),
    }
    for kind, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            raise BadTrace(f"{where}: {kind}.{index}: expected shape {list(shape)}; found {list(tensor.shape)}.")
        if tensor is not None and not np.isfinite(tensor).all():
            raise BadTrace(f"{where}: {kind}.{index}: expected finite values; found some that are not.")
    if (found.repeat is None) != (found.repeat_mass is None):
        raise BadTrace(f"{where}: expected r.{index} and m.{index} together; found only one of them.")
    for kind, tensor in (("k", layer.keys), ("v", layer.values)):
        if (largest := float(np.abs(tensor).max())) > FLOAT16_MAX:
            raise BadTrace(
                f"{where}: {kind}.{index}: expected values within ±{FLOAT16_MAX:.0f}, since caches are kept in "
                f"float16; found {largest:.4g}."
            )
    return found
