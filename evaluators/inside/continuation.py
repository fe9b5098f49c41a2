"""Tokens after a context, with each layer's attention in other hands.

All tokens of a continuation are given (teacher forcing), so each layer answers for all of them at once; a token's keys
and values come from hidden states that already went through the other hands below. Greedy decoding writes an answer
exactly if, so forced, the model's first choice is right at each of its tokens.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Generator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.inside.context import Context, Floats

_ATTENTION = "vevolve_inside"


class Attention(Protocol):
    """Attention over a context and the S tokens after it, of which token t sees the context and tokens 0 to t."""

    def attend(self, layer: int, queries: Floats, keys: Floats, values: Floats) -> NDArray[np.floating[Any]]:
        """The outputs [H, G, S, d] of one layer, from the new tokens' queries [H, G, S, d], keys and values [H, S, d].

        All three are after RoPE; logits are q k / sqrt(d). Layers are asked in order, each once.
        """
        ...


class Dense:
    """Exact attention: what everything else is compared with."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def attend(self, layer: int, queries: Floats, keys: Floats, values: Floats) -> NDArray[np.floating[Any]]:
        """Softmax over the context and the tokens so far."""
        held = self._context.layers[layer]
        return softmax_attention(queries, held.keys, held.values, keys, values)


def softmax_attention(
    queries: Floats, old_keys: Floats, old_values: Floats, keys: Floats, values: Floats
) -> NDArray[np.float32]:
    """Exact attention [H, G, S, d] over old tokens [H, n, d], all visible, and new ones [H, S, d], causally."""
    steps, dim = queries.shape[2:]
    every_key = np.concatenate([old_keys, keys], axis=1)
    logits: NDArray[np.float32] = queries @ every_key[:, None].swapaxes(-1, -2) / np.float32(np.sqrt(dim))
    logits[..., old_keys.shape[1] :] += np.triu(np.full((steps, steps), -np.inf, dtype=np.float32), 1)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    out: NDArray[np.float32] = weights @ np.concatenate([old_values, values], axis=1)[:, None]
    return out


def continued(context: Context, ids: Sequence[int], attention: Attention, *, start: int | None = None) -> Floats:
    """Log-probabilities of the next token, float32 [S, vocabulary], after each of S tokens that follow a context.

    Args:
        context: what was read before.
        ids: the tokens.
        attention: answers for every layer.
        start: the position of the first token; by default the context's length. Less where positions are cache slots.
    """
    import torch

    network = context.model.network
    _register()
    before = network.config._attn_implementation
    network.set_attn_implementation(_ATTENTION)
    first = len(context.ids) if start is None else start
    try:
        with torch.inference_mode(), _answering(attention):
            device = next(network.parameters()).device
            positions = torch.arange(first, first + len(ids), device=device)[None]
            tokens = torch.tensor([list(ids)], device=device)
            logits = network(tokens, position_ids=positions, use_cache=False).logits[0]
            return np.asarray(torch.log_softmax(logits.float(), dim=-1).cpu().numpy())
    finally:
        network.set_attn_implementation(before)


_IN_CHARGE: list[Attention] = []


@contextlib.contextmanager
def _answering(attention: Attention) -> Generator[None]:
    """Put an attention in charge while a continuation runs."""
    _IN_CHARGE.append(attention)
    try:
        yield
    finally:
        _IN_CHARGE.pop()


@functools.cache
def _register() -> None:
    """Tell transformers of an attention that hands on to the one in charge."""
    import torch

    attentions: Any = importlib.import_module("transformers").AttentionInterface
    masks: Any = importlib.import_module("transformers.masking_utils").AttentionMaskInterface

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **named: Any) -> Any:
        heads, (width, dim) = key.shape[1], (query.shape[2], query.shape[3])
        # Logits are q k / sqrt(d) for whoever answers: another factor of the model is moved into q.
        factor = (named.get("scaling") or dim**-0.5) * dim**0.5
        queries = (query[0] * factor).float().cpu().numpy().reshape(heads, -1, width, dim)
        out = _IN_CHARGE[-1].attend(
            module.layer_idx,
            np.ascontiguousarray(queries),
            key[0].float().cpu().numpy(),
            value[0].float().cpu().numpy(),
        )
        flat = torch.from_numpy(np.ascontiguousarray(out, dtype=np.float32)).to(query.device, query.dtype)
        return flat.reshape(1, -1, width, flat.shape[-1]).transpose(1, 2).contiguous(), None

    attentions.register(_ATTENTION, attention)
    masks.register(_ATTENTION, masks()["sdpa"])
