# mypy: ignore-errors
# pyright: basic
"""A candidate of `sparse_decode` with a cache that lies on the device: select, then attend, layer after layer.

This text is the program of a sandboxed process with a GPU; the candidate's text runs beside it and may change whatever
it likes here. So nothing that this says is believed: whoever asks holds the clock, and verifies every answer.
"""

import functools
import inspect
import re
import types

import numpy as np
import torch

WARM_UP = 3
held = types.SimpleNamespace(keys={}, values={}, indices={}, rngs=[], graph=None, program=None, params={}, budget=None)


class Cache:
    """Keys and values of one layer, as a candidate reads them: ids int [H, m] to float32 [H, m, d], -1 to zeros."""

    def __init__(self, layer):
        self._layer = layer
        self.n = held.keys[layer].shape[1]

    def keys(self, ids):
        """Keys of tokens."""
        return gathered(held.keys[self._layer], torch.as_tensor(ids, device=held.device))

    def values(self, ids):
        """Values of tokens."""
        return gathered(held.values[self._layer], torch.as_tensor(ids, device=held.device))


class Index:
    """The index of one layer. A whole tensor is the one that lies here: a candidate must not write to it."""

    def __init__(self, tensors):
        self._tensors = tensors

    def __getitem__(self, name):
        return self._tensors[name]

    def rows(self, name, ids):
        """Rows of a tensor: ids [H, m] of [H, R, ...], or [m] of [R, ...]."""
        tensor, ids = self._tensors[name], torch.as_tensor(ids, device=held.device)
        return (
            gathered(tensor, ids, tensor.dtype) if ids.ndim == 2 else gathered(tensor[None], ids[None], tensor.dtype)[0]
        )


def gathered(store, ids, dtype=torch.float32):
    """Rows [H, m, ...] of a store [H, n, ...] by ids [H, m]; zeros for -1."""
    heads, n = store.shape[:2]
    ids = ids.long()
    chosen = ids >= 0
    flat = (ids.clamp(min=0) + starts(heads, n)).reshape(-1)
    rows = store.reshape(heads * n, *store.shape[2:]).index_select(0, flat)
    rows = rows.reshape(*ids.shape, *store.shape[2:]).to(dtype)
    return rows.masked_fill(~chosen.reshape(*chosen.shape, *[1] * (rows.ndim - 2)), 0)


@functools.cache
def starts(heads, n):
    """Where the rows of each head begin, [H, 1]."""
    return n * torch.arange(heads, device=held.device)[:, None]


@functools.cache
def asked(function):
    """The names that a function of the candidate asks for; None for all."""
    found = inspect.signature(function).parameters
    return None if any(one.kind is one.VAR_KEYWORD for one in found.values()) else set(found)


def attend(query, layer, ids, prob, tail):
    """Attention over what was chosen, float32: sum(w / p v) / sum(w / p), the tail among the tokens. [H, G, d]."""
    heads, group, dim = query.shape
    shared = ids.ndim == 2
    rows = ids if shared else ids.reshape(heads, -1)
    keys, values = gathered(held.keys[layer], rows), gathered(held.values[layer], rows)
    if shared:
        logits = query @ keys.mT
        weights = prob[:, None], ids[:, None]
    else:
        keys, values = (one.reshape(heads, group, -1, dim) for one in (keys, values))
        logits = (keys @ query[..., None])[..., 0]
        weights = prob, ids
    logits = logits * dim**-0.5 - weights[0].log()
    logits = logits.masked_fill(weights[1] < 0, -torch.inf)
    size = logits.shape[-1]
    if tail is not None:
        logits = torch.cat([logits, tail[0]], dim=-1)
    share = logits.softmax(dim=-1)
    own = share[..., :size]
    out = own @ values if shared else (own[:, :, None] @ values)[:, :, 0]
    return out if tail is None else out + share[..., size:] @ tail[1]


# --------------------------------------------------------------------------------------------------------- preparing


def begin(source, params, layers, tokens, epsilon, delta):
    """Take the candidate's text and its budget."""
    held.device = "cuda" if torch.cuda.is_available() else "cpu"
    held.program = types.ModuleType("program")
    exec(compile(source, "program.py", "exec", dont_inherit=True), held.program.__dict__)  # noqa: S102
    held.lines = source.splitlines()
    held.params = params
    held.budget = types.SimpleNamespace(tokens=tokens, epsilon=epsilon, delta=delta)
    held.rngs = [torch.Generator(held.device) for _ in range(layers)]
    return held.device


def keep(layer, keys, values):
    """Add KV heads to the cache of a layer, float16 [h, n, d]."""
    for store, part in ((held.keys, keys), (held.values, values)):
        store[layer] = torch.cat([store[layer], part]) if layer in store else part.clone()
    return held.keys[layer].shape[0]


def build(layer, prompt, queries, rng):
    """The candidate's index of the first `prompt` tokens."""
    keys, values = (store[layer][:, :prompt].float() for store in (held.keys, held.values))
    return called("build", keys=keys, values=values, queries=queries, layer=layer, params=held.params, rng=rng)


def hold(layer, index):
    """The index that was charged."""
    held.indices[layer] = Index(index)
    return len(index)


def capture(queries):
    """Try to record a call in a CUDA graph. Returns "", or why a call is made eagerly."""
    if held.device != "cuda":
        return "no CUDA device"
    held.static = queries.clone()
    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                joined(stepped(held.static))
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        for rng in held.rngs:
            graph.register_generator_state(rng)
        with torch.cuda.graph(graph):
            pieces = stepped(held.static)
            flat = joined(pieces)
        graph.replay()
        torch.cuda.synchronize()
    except Exception as error:
        return cause(error)
    held.graph, held.flat, held.form = graph, flat, form(pieces)
    return ""


# ------------------------------------------------------------------------------------------------------------ timed


def step(queries, seeds):
    """Select and attend in every layer: queries float32 [L, H, G, d], a seed a layer."""
    for rng, seed in zip(held.rngs, seeds, strict=True):
        rng.manual_seed(seed)
    if held.graph is not None:
        held.static.copy_(queries)
        held.flat.fill_(0xFF)
        held.graph.replay()
        return {"bytes": held.flat, "form": held.form}
    pieces = stepped(queries)
    return {"bytes": joined(pieces), "form": form(pieces)}


def stepped(queries):
    """Of each layer: ids, prob, the tail if there is one, and the output."""
    pieces = []
    for layer in range(len(queries)):
        query = queries[layer]
        index = held.indices.get(layer) or Index({})
        given = {"query": query, "index": index, "cache": Cache(layer), "budget": held.budget, "layer": layer}
        found = called("select", **given, params=held.params, rng=held.rngs[layer])
        ids, prob, tail = (*found, None)[:3]
        ids = torch.as_tensor(ids, device=held.device)
        if ids.is_floating_point() or ids.dtype == torch.bool:
            raise TypeError(f"ids must be integers, got {ids.dtype}")
        prob = torch.as_tensor(prob, device=held.device).float()
        if tail is not None:
            tail = tuple(torch.as_tensor(one, device=held.device).float() for one in tail)
        pieces.append([ids.int(), prob, *(tail or ()), attend(query, layer, ids, prob, tail)])
    return pieces


def joined(pieces):
    """All arrays of an answer as bytes, so that they leave the device in one copy."""
    return torch.cat([one.contiguous().reshape(-1).view(torch.uint8) for layer in pieces for one in layer])


def form(pieces):
    """Of each layer the number of arrays, and of each of these the number of dimensions and the dimensions."""
    words = []
    for layer in pieces:
        words.append(len(layer))
        for one in layer:
            words += [one.ndim, *one.shape]
    return np.array(words, np.int64)


def called(name, **given):
    """Call a function of the candidate with what it asks for by name."""
    function = getattr(held.program, name)
    names = asked(function)
    if names is not None:
        given = {key: value for key, value in given.items() if key in names}
    try:
        return function(**given)
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0][:400]
        raise RuntimeError(f"{name}: {type(error).__name__}: {said}{where(error)}") from error


def cause(error):
    """Why a call could not be recorded: what failed first in the candidate's function, in a sentence, and its line."""
    while error.__context__ is not None and not str(error).startswith("select: "):
        error = error.__context__
    error = error.__cause__ or error
    said = str(error).strip().removeprefix("CUDA error: ")
    # What follows are hints on how to debug or to change it.
    return (re.split(r"\n|\. | unless ", said)[0][:160] or type(error).__name__) + where(error)


def where(error):
    """The candidate's own line in which it failed."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "program.py" and trace.tb_lineno <= len(held.lines):
            place = f" (line {trace.tb_lineno}: {held.lines[trace.tb_lineno - 1].strip()[:100]})"
        trace = trace.tb_next
    return place
