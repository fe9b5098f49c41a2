"""Record what a Hugging Face causal model's attention really sees: queries, keys and values after RoPE.

The recorder stands in as the model's attention function, which every architecture calls with rotated queries and
keys, keeps the layers that are wanted, and hands on to the model's usual implementation. Grouped queries follow the
models' own layout: query head h * G + g reads KV head h.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vevolve.errors import BadInput
from vevolve.evaluators.sparse_decode.models import Model, load, text_config
from vevolve.evaluators.sparse_decode.traces import Document, Floats, Layer, write
from vevolve.types import Split

if TYPE_CHECKING:
    import torch

_ATTENTION = "vevolve_recorder"
_CODE_SUFFIXES = {".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".cu", ".rs", ".go", ".js", ".ts", ".java", ".sh", ".pl"}


def record(
    model: str | Model,
    text: str | Sequence[int],
    *,
    layers: Sequence[int] | None = None,
    steps: int = 8,
    queries: int = 32,
    tokens: int | None = None,
    split: Split = "search",
    name: str = "recorded",
    source: str = "given text",
    kind: str = "prose",
    needle: tuple[int, int] | None = None,
    notes: Mapping[str, str] | None = None,
    wo: bool = False,
) -> Document:
    """Run a model over a text and keep what its attention saw.

    Args:
        model: a loaded model, or a name for `load`.
        text: a text, or its token ids.
        layers: which layers; by default those at one and two thirds of the depth.
        steps: S, how many of the last positions are decode steps.
        queries: T, of how many of the last positions the queries are kept; at least `steps`.
        tokens: N, how many of the first tokens are used; by default all.
        split: the split that the document is for.
        name: what reports call it.
        source: where the text comes from.
        kind: "prose", "code" or "needle".
        needle: the tokens that state the answer, start and stop.
        notes: further metadata.
        wo: also keep the output projection, one slice a query head.

    Raises:
        BadInput: the text is too short or too long, a layer does not exist, or a layer's attention is not plain
            softmax over all earlier tokens (sliding window, soft cap, learned sink logits).
    """
    model = load(model) if isinstance(model, str) else model
    ids = model.encode(text) if isinstance(text, str) else [int(token) for token in text]
    if tokens is not None and len(ids) < tokens:
        raise BadInput(f"{source}: expected at least {tokens} tokens to record; found {len(ids)}. Ask for fewer.")
    ids = ids[:tokens]
    layers = list(layers) if layers is not None else sorted({model.depth // 3, 2 * model.depth // 3})
    _check(model, source, len(ids), layers, steps, queries)
    caught = capture(model, ids, layers)
    return Document(
        name=name,
        model=model.name,
        text=source,
        split=split,
        kind=kind,
        steps=steps,
        layers={layer: _layer(model, caught[layer], layer, queries, wo) for layer in layers},
        rope_base=rope_base(model.network),
        needle=needle,
        notes=dict(notes or {}),
    )


def record_files(
    model: str | Model,
    texts: Sequence[Path],
    out: Path,
    *,
    layers: Sequence[int] | None = None,
    steps: int = 8,
    queries: int = 32,
    tokens: int | None = None,
    split: Split = "search",
) -> list[Path]:
    """Record text files, one trace each, and return the traces' paths.

    With one text and an `out` that ends in .safetensors, that is the file. With several, `out` is a folder, and each
    trace is named like its text; or it ends in .safetensors, and traces are numbered: out-1.safetensors, ...
    `tokens` is a limit here: shorter texts are recorded whole.

    Raises:
        BadInput: a text cannot be read, is not UTF-8, or is too short; a setting does not fit the model; a file is
            there already.
        MissingDependency: transformers or the offline weights are not installed.
    """
    if not texts:
        raise BadInput("Nothing to record: expected at least one text file.")
    contents = [_read_text(path) for path in texts]
    targets = _targets(texts, out)
    for target in targets:
        if target.exists() or target.is_symlink():
            raise BadInput(f"{target}: expected no file there yet; found one. Remove it, or record under another name.")
    model = load(model) if isinstance(model, str) else model
    for path, content, target in zip(texts, contents, targets, strict=True):
        ids = model.encode(content)[:tokens]
        kind = "code" if path.suffix in _CODE_SUFFIXES else "prose"
        document = record(
            model, ids, layers=layers, steps=steps, queries=min(queries, max(steps, len(ids))), split=split,
            name=target.stem, source=path.name, kind=kind,
        )  # fmt: skip
        write(document, target)
    return targets


# ------------------------------------------------------------------------------------------------------- the catch


def capture(model: Model, ids: Sequence[int], layers: Sequence[int]) -> dict[int, tuple[torch.Tensor, ...]]:
    """Run the model without its head; return {layer: (queries [Hq, N, d], keys, values [H, N, d])}."""
    import torch

    attentions: Any = importlib.import_module("transformers").AttentionInterface
    masks: Any = importlib.import_module("transformers.masking_utils").AttentionMaskInterface
    caught: dict[int, tuple[torch.Tensor, ...]] = {}
    usual = attentions()["sdpa"]

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **named: Any) -> Any:
        odd = [word for word in ("softcap", "s_aux", "position_bias") if named.get(word) is not None]
        window = named.get("sliding_window") if module.layer_idx in layers else None
        if odd or (window is not None and window < len(ids)):
            what = ", ".join(odd) or f"a sliding window of {window} tokens: choose other layers, or fewer tokens"
            raise BadInput(
                f"Layer {module.layer_idx} of {model.name} does not attend by plain softmax over all {len(ids)} "
                f"tokens, which is all that a trace can hold; it has {what}."
            )
        if module.layer_idx in layers:
            # A trace's logits are q.k / sqrt(d): models with another factor have the rest of it moved into q.
            factor = (named.get("scaling") or query.shape[-1] ** -0.5) * query.shape[-1] ** 0.5
            caught[module.layer_idx] = (query[0] * factor, key[0], value[0])
        return usual(module, query, key, value, mask, **named)

    attentions.register(_ATTENTION, attention)
    masks.register(_ATTENTION, masks()["sdpa"])
    before = model.network.config._attn_implementation
    model.network.set_attn_implementation(_ATTENTION)
    try:
        with torch.inference_mode():
            device = next(model.network.parameters()).device
            model.network.base_model(torch.tensor([list(ids)], device=device), use_cache=False)
    finally:
        model.network.set_attn_implementation(before)
    if missing := [layer for layer in layers if layer not in caught]:
        raise BadInput(f"Layers {missing} of {model.name} hold no softmax attention. Choose other layers.")
    return caught


def _layer(model: Model, caught: tuple[torch.Tensor, ...], layer: int, queries: int, wo: bool) -> Layer:
    query, key, value = (_floats(tensor) for tensor in caught)
    heads, tokens, width = key.shape
    group = query.shape[0] // heads
    kept = np.ascontiguousarray(query.reshape(heads, group, tokens, width)[:, :, tokens - queries :])
    return Layer(kept, key, value, projection(model, layer, heads) if wo else None)


def projection(model: Model, layer: int, heads: int) -> Floats:
    """The output projection of a layer, [H, G, d, D]: what each query head's output is multiplied by."""
    weight = _floats(model.network.base_model.layers[layer].self_attn.o_proj.weight)
    width = weight.shape[1] // text_config(model.network).num_attention_heads
    return np.ascontiguousarray(weight.T).reshape(heads, -1, width, len(weight))


def _floats(tensor: torch.Tensor) -> Floats:
    return np.array(tensor.detach().float().cpu().numpy())


# -------------------------------------------------------------------------------------------------------- checking


def _check(model: Model, source: str, count: int, layers: Sequence[int], steps: int, queries: int) -> None:
    if not 1 <= steps <= queries:
        raise BadInput(f"Expected 1 <= steps <= queries; found {steps} steps and {queries} queries.")
    if wrong := [layer for layer in layers if not 0 <= layer < model.depth]:
        raise BadInput(f"{model.name} has layers 0 to {model.depth - 1}; asked for {', '.join(map(str, wrong))}.")
    if not layers:
        raise BadInput("Expected at least one layer to record; found none.")
    if count <= steps or count < queries:
        least = max(steps + 1, queries)
        raise BadInput(
            f"{source}: expected at least {least} tokens for {steps} steps; found {count}. Give a longer text."
        )
    if count > model.longest:
        raise BadInput(f"{source}: {model.name} reads at most {model.longest} tokens; found {count}. Set a limit.")


def rope_base(network: Any) -> float | None:
    """The base of the rotary embedding; the first one where layer types differ."""
    config = text_config(network)
    parameters = getattr(config, "rope_parameters", None) or {}
    if parameters and "rope_theta" not in parameters:
        parameters = next((value for value in parameters.values() if isinstance(value, dict)), {})
    base = parameters.get("rope_theta", getattr(config, "rope_theta", None))
    return None if base is None else float(base)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: expected a text in UTF-8; found other bytes at {error.start}.") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot read the text: {error.strerror}.") from error


def _targets(texts: Sequence[Path], out: Path) -> list[Path]:
    if out.suffix != ".safetensors":
        names = [path.stem for path in texts]
        if len(set(names)) < len(names):
            names = [f"{name}-{number}" for number, name in enumerate(names, 1)]
        return [out / f"{name}.safetensors" for name in names]
    if len(texts) == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, len(texts) + 1)]
