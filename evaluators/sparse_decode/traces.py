"""Traces: the queries, keys and values that a model really had, one document a file (safetensors, float16).

A file holds, for each recorded layer, `q.{layer}` [H, G, T, d] (queries of the last T positions), `k.{layer}` and
`v.{layer}` [H, N, d], all after RoPE, and maybe `wo.{layer}` [H, G, d, m], each query head's slice of the output
projection (or that projection's weight as models keep it, [m, H * G * d]). Its metadata are strings: `model`, `text`
(where the text comes from), `tokens` (N) and `split`; `steps` (S decode steps; absent means T), `rope_base`, `name`,
`kind`, `needle` ("start:stop", the tokens that state the answer) and anything else.

The prompt is the first N - S tokens. The query at position i sees tokens 0 to i.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vevolve.errors import BadTrace, UnknownName
from vevolve.types import Split

Floats: TypeAlias = NDArray[np.float32]

SPLITS: tuple[Split, ...] = get_args(Split)
SHIPPED = Path(__file__).parent / "traces"
FLOAT16_MAX = 65504.0
_DTYPES = ("F16", "F32")
_TENSOR = re.compile(r"(q|k|v|wo)\.(0|[1-9]\d*)")


@dataclass(frozen=True, eq=False)
class Layer:
    """One attention layer of a document, float32, after RoPE.

    Attributes:
        queries: [H, G, T, d], those of the last T positions; query head h * G + g of the model reads KV head h.
        keys: [H, N, d].
        values: [H, N, d].
        wo: [H, G, d, m], what each query head's output is multiplied by, or None.
    """

    queries: Floats
    keys: Floats
    values: Floats
    wo: Floats | None = None

    @property
    def heads(self) -> int:
        """H, the KV heads."""
        return int(self.keys.shape[0])

    @property
    def group(self) -> int:
        """G, the query heads of one KV head."""
        return int(self.queries.shape[1])

    @property
    def width(self) -> int:
        """The head dimension d."""
        return int(self.keys.shape[2])


@dataclass(frozen=True, eq=False)
class Document:
    """A recorded or synthetic text with some of its layers.

    Attributes:
        name: what reports call it.
        model: the model that was recorded.
        text: where the text comes from.
        split: the split it belongs to.
        kind: "prose", "code", "needle" or "synthetic:<family or stress>".
        steps: S, the decode steps; the query of step t stands at position N - S + t.
        layers: by the model's layer index; all with the same N and T.
        rope_base: of the model's rotary embedding; None where it is unknown or there is none.
        needle: first token and one past the last token of the statement that answers, if there is one.
        notes: further metadata.
    """

    name: str
    model: str
    text: str
    split: Split
    kind: str
    steps: int
    layers: Mapping[int, Layer]
    rope_base: float | None = None
    needle: tuple[int, int] | None = None
    notes: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def tokens(self) -> int:
        """N, the tokens of prompt and decode steps."""
        return int(self._first.keys.shape[1])

    @property
    def recorded(self) -> int:
        """T, the positions whose queries were recorded; any more than S belong to the prompt."""
        return int(self._first.queries.shape[2])

    @property
    def prompt(self) -> int:
        """N - S, the tokens of the prompt."""
        return self.tokens - self.steps

    @property
    def _first(self) -> Layer:
        return next(iter(self.layers.values()))

    @functools.cached_property
    def hash(self) -> str:
        """The sha256 of metadata and tensors, each tensor as float16, or as float32 where it does not fit."""
        digest = hashlib.sha256(json.dumps(_metadata(self), sort_keys=True).encode())
        for name, tensor in sorted(_tensors(self).items()):
            form = "<f2" if np.abs(tensor).max(initial=0.0) <= FLOAT16_MAX else "<f4"
            digest.update(f"{name}{tensor.shape}".encode() + tensor.astype(form).tobytes())
        return digest.hexdigest()


def shipped(split: str) -> list[Path]:
    """The traces that come with vEvolve for "search" or "select", sorted by name.

    Raises:
        UnknownName: no traces are shipped for that split.
    """
    if split not in ("search", "select"):
        raise UnknownName("shipped split", split, ["search", "select"])
    return sorted((SHIPPED / split).glob("*.safetensors"))


def write(document: Document, path: Path) -> None:
    """Write a document as float16. An existing file is replaced only once the new one is complete.

    Raises:
        BadTrace: its tensors do not fit each other, a value does not fit float16, or the disk refuses.
    """
    tensors = _tensors(document)
    for name, tensor in tensors.items():
        largest = float(np.abs(tensor).max(initial=0.0))
        if np.isfinite(largest) and largest > FLOAT16_MAX:
            raise BadTrace(f"{path}: {name}: expected values within ±{FLOAT16_MAX:.0f}, float16; found {largest:.4g}.")
    metadata = _metadata(document)
    _check(path, metadata, tensors)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".trace-") as folder:
            fresh = Path(folder) / path.name
            halves = {name: np.ascontiguousarray(tensor, np.float16) for name, tensor in tensors.items()}
            # save_file would make a file that only its owner can read.
            fresh.write_bytes(_ordered(save(halves, metadata)))
            fresh.replace(path)
    except (OSError, SafetensorError) as error:
        raise BadTrace(f"{path}: cannot write the trace: {error}") from error


def read(path: Path) -> Document:
    """Read and check a trace.

    Raises:
        BadTrace: one line that names file, tensor, what was expected and what was found.
    """
    path = Path(path)
    if not path.exists():
        raise BadTrace(f"{path}: expected a trace, a .safetensors file; found no such file.")
    if path.is_dir():
        raise BadTrace(f"{path}: expected a trace, a .safetensors file; found a folder.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
            for name in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                if (dtype := file.get_slice(name).get_dtype()) not in _DTYPES:
                    raise BadTrace(f"{path}: {name}: expected dtype {' or '.join(_DTYPES)}; found {dtype}.")
            stored: dict[str, Floats] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise BadTrace(f"{path}: cannot read the trace: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise BadTrace(f"{path}: expected a safetensors file; found one that cannot be parsed: {error}.") from error
    return assemble(path, metadata, {name: np.asarray(tensor, np.float32) for name, tensor in stored.items()})


def assemble(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Floats]) -> Document:
    """The document of a trace's metadata and tensors, checked; `path` is what an error names.

    Raises:
        BadTrace: as `read`.
    """
    _check(path, metadata, tensors)
    known = {"name", "model", "text", "tokens", "split", "kind", "steps", "rope_base", "needle"}
    layers = {layer: _layer(tensors, layer) for layer in _layer_indices(tensors)}
    recorded = str(next(iter(layers.values())).queries.shape[2])
    return Document(
        name=metadata.get("name", path.stem),
        model=metadata["model"],
        text=metadata["text"],
        split=cast(Split, metadata["split"]),
        kind=metadata.get("kind", "prose"),
        steps=int(metadata.get("steps", recorded)),
        layers=layers,
        rope_base=float(metadata["rope_base"]) if "rope_base" in metadata else None,
        needle=_span(metadata["needle"]) if "needle" in metadata else None,
        notes={key: value for key, value in metadata.items() if key not in known},
    )


# ----------------------------------------------------------------------------------------------- what a file holds


def _tensors(document: Document) -> dict[str, Floats]:
    named = {
        f"{kind}.{index}": tensor
        for index, layer in document.layers.items()
        for kind, tensor in (("q", layer.queries), ("k", layer.keys), ("v", layer.values), ("wo", layer.wo))
    }
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def _metadata(document: Document) -> dict[str, str]:
    metadata = {
        **document.notes,
        "name": document.name,
        "model": document.model,
        "text": document.text,
        "tokens": str(document.tokens) if document.layers else "0",
        "split": document.split,
        "kind": document.kind,
        "steps": str(document.steps),
    }
    if document.rope_base is not None:
        metadata["rope_base"] = repr(float(document.rope_base))
    if document.needle is not None:
        metadata["needle"] = f"{document.needle[0]}:{document.needle[1]}"
    return metadata


def _ordered(stored: bytes) -> bytes:
    """A safetensors file with a sorted header: the library writes metadata in another order each time."""
    start = 8 + int.from_bytes(stored[:8], "little")
    header = json.dumps(json.loads(stored[8:start]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + stored[start:]


def _layer_indices(tensors: Mapping[str, Floats]) -> list[int]:
    return sorted({int(name.partition(".")[2]) for name in tensors})


def _layer(tensors: Mapping[str, Floats], index: int) -> Layer:
    queries, wo = tensors[f"q.{index}"], tensors.get(f"wo.{index}")
    if wo is not None and wo.ndim == 2:
        heads, group, _, width = queries.shape
        wo = np.ascontiguousarray(wo.T).reshape(heads, group, width, -1)
    return Layer(queries, tensors[f"k.{index}"], tensors[f"v.{index}"], wo)


def _span(text: str) -> tuple[int, int]:
    start, _, stop = text.partition(":")
    return int(start), int(stop)


# -------------------------------------------------------------------------------------------------------- checking


def _check(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Floats]) -> None:
    """Raise `BadTrace` unless names, shapes, values and metadata fit each other."""
    for name in tensors:
        if not _TENSOR.fullmatch(name):
            raise BadTrace(f"{path}: {name}: expected tensors q.N, k.N, v.N or wo.N, N a layer; found this name.")
    layers = _layer_indices(tensors)
    if not layers:
        raise BadTrace(f"{path}: expected tensors q.N, k.N and v.N of at least one layer N; found none.")
    for index in layers:
        _check_layer(path, tensors, index)
    first = layers[0]
    tokens, recorded = tensors[f"k.{first}"].shape[1], tensors[f"q.{first}"].shape[2]
    for index in layers[1:]:
        for name, axis, size in ((f"k.{index}", 1, tokens), (f"q.{index}", 2, recorded)):
            if (found := tensors[name].shape[axis]) != size:
                what = "tokens" if axis == 1 else "queries"
                raise BadTrace(f"{path}: {name}: expected {size} {what}, as in layer {first}; found {found}.")
    if recorded > tokens:
        raise BadTrace(f"{path}: q.{first}: expected at most as many queries as tokens, {tokens}; found {recorded}.")
    for name, tensor in tensors.items():
        if wrong := int(np.count_nonzero(~np.isfinite(tensor))):
            raise BadTrace(f"{path}: {name}: expected finite values; found {wrong} that are NaN or infinite.")
    _check_metadata(path, metadata, tokens, recorded)


def _check_layer(path: Path, tensors: Mapping[str, Floats], index: int) -> None:
    for kind, shape in (("q", "[H, G, T, d]"), ("k", "[H, N, d]"), ("v", "[H, N, d]")):
        if f"{kind}.{index}" not in tensors:
            raise BadTrace(f"{path}: {kind}.{index}: expected a tensor {shape}; found none.")
    queries, keys, values = (tensors[f"{kind}.{index}"] for kind in "qkv")
    if keys.ndim != 3 or 0 in keys.shape:
        raise BadTrace(f"{path}: k.{index}: expected shape [H, N, d], nothing empty; found {list(keys.shape)}.")
    heads, _, width = keys.shape
    if values.shape != keys.shape:
        raise BadTrace(f"{path}: v.{index}: expected shape {list(keys.shape)}, as k.{index}; found {[*values.shape]}.")
    if queries.ndim == 3 and queries.shape[0] % heads:
        raise BadTrace(
            f"{path}: q.{index}: expected query heads in groups over {heads} KV heads, [{heads}, G, T, {width}]; "
            f"found {queries.shape[0]} heads, which {heads} does not divide."
        )
    if queries.ndim != 4 or 0 in queries.shape or (queries.shape[0], queries.shape[3]) != (heads, width):
        raise BadTrace(
            f"{path}: q.{index}: expected shape [{heads}, G, T, {width}] (KV heads, query heads of each, positions, "
            f"head dimension), nothing empty; found {list(queries.shape)}."
        )
    wo, group = tensors.get(f"wo.{index}"), queries.shape[1]
    if wo is not None and not (
        (wo.ndim == 4 and wo.shape[:3] == (heads, group, width) and wo.size)
        or (wo.ndim == 2 and wo.shape[1] == heads * group * width and wo.size)
    ):
        raise BadTrace(
            f"{path}: wo.{index}: expected shape [{heads}, {group}, {width}, m] or [m, {heads * group * width}]; "
            f"found {list(wo.shape)}."
        )


def _check_metadata(path: Path, metadata: Mapping[str, str], tokens: int, recorded: int) -> None:
    for key in ("model", "text", "tokens", "split"):
        if key not in metadata:
            raise BadTrace(f"{path}: expected metadata model, text, tokens and split; found no '{key}'.")
    if metadata["tokens"] != str(tokens):
        raise BadTrace(f"{path}: metadata tokens: expected {tokens}, the N of k; found '{metadata['tokens'][:40]}'.")
    if metadata["split"] not in SPLITS:
        raise BadTrace(
            f"{path}: metadata split: expected one of {', '.join(SPLITS)}; found '{metadata['split'][:40]}'."
        )
    steps = metadata.get("steps", str(recorded))
    if not re.fullmatch(r"[1-9]\d{0,9}", steps):
        raise BadTrace(f"{path}: metadata steps: expected a whole number above 0; found '{steps[:40]}'.")
    if int(steps) > recorded:
        raise BadTrace(f"{path}: metadata steps: expected at most {recorded}, the T of q; found {steps}.")
    if int(steps) >= tokens:
        raise BadTrace(f"{path}: metadata steps: expected fewer than the {tokens} tokens; found {steps}.")
    base = metadata.get("rope_base", "1")
    if not re.fullmatch(r"\d+(\.\d*)?([eE][+-]?\d+)?", base) or not 0 < float(base) < np.inf:
        raise BadTrace(f"{path}: metadata rope_base: expected a finite number above 0; found '{base[:40]}'.")
    needle = metadata.get("needle", "0:1")
    if not re.fullmatch(r"\d{1,10}:\d{1,10}", needle) or not _span(needle)[0] < _span(needle)[1] <= tokens:
        raise BadTrace(f"{path}: metadata needle: expected start:stop within {tokens} tokens; found '{needle[:40]}'.")
