"""A lightning indexer: rank tokens by small learned index heads (DeepSeek-V3.2, DeepSeek-AI 2025, arXiv:2512.02556).

    I = sum_h g_h ReLU(q_h . k),  k = layer_norm(W_k key),  q_h = W_h query,  g_h = w_h . query,  kept = top-k.

DeepSeek's indexer has 64 heads, one 128-wide key a token in FP8 (1056 bits with its scale), and takes queries and
gates from hidden states. Here each KV head has one DIM-wide int8 key a token, HEADS index heads for each query head of
its group, and projections of queries and keys themselves, from the parameter file: trained on texts of the search
split by training/lightning_indexer.py, for SmolLM2-135M-Instruct. For a layer, width or number of heads without
weights, q . k is taken in one fixed random projection. No Hadamard rotation: at this width rounding loses little.
Index: 128 bits a token, of keys centred by the prompt's mean (which moves all logits alike), and the mean.
"""

import math

import torch

PUBLISHED = "none that can be held against ours: trained with its model (DeepSeek-V3.2-Exp)"
DIM = 16
HEADS = 4
STEP = 1 / 32
SINKS = 4
WINDOW_SHARE = 0.1


def maps(layer, params, heads, d, device):
    """Return the projections of a layer: queries [H, d, HEADS * DIM], gates [H, d, HEADS], keys [H, d, DIM]."""
    found = params.get("keys")
    if found is not None and layer < len(found) and found.shape[1:3] == (heads, d):
        return [params[name][layer].float() for name in ("queries", "gates", "keys")]
    plane = torch.randn(d, DIM, generator=torch.Generator().manual_seed(d)).to(device)
    signs = torch.tensor([1.0, -1.0]).repeat(HEADS)[:HEADS].to(device)  # relu(a) - relu(-a) = a
    return [(plane[:, None] * signs[:, None]).flatten(1).expand(heads, -1, -1), signs, plane.expand(heads, -1, -1)]


def index_keys(keys, layer, params):
    """Return the index keys of centred keys [H, m, d], int8 [H, m, DIM]: projected, layer-normalised, rounded."""
    projected = keys @ maps(layer, params, len(keys), keys.shape[2], keys.device)[2]
    return (torch.nn.functional.layer_norm(projected, (DIM,)) / STEP).round().clamp(-127, 127).to(torch.int8)


def build(keys, layer, params):
    """Return the index keys, [H, n, DIM], and the keys' mean, [H, 1, d]."""
    mean = keys.mean(dim=1, keepdim=True)
    return {"codes": index_keys(keys - mean, layer, params), "mean": mean}


def append(index, keys, layer, params):
    """Index generated keys too, centred by the prompt's mean."""
    fresh = index_keys(keys - index["mean"], layer, params)
    return {"codes": torch.cat([index["codes"], fresh], dim=1), "mean": index["mean"]}


def embed(query, layer, params):
    """Return the index queries of all index heads, and their gates as a last column: [H, G * HEADS, DIM + 1]."""
    heads, group, d = query.shape
    queries, gates, _ = maps(layer, params, heads, d, query.device)
    gates = (query @ gates) if gates.ndim == 3 else gates.expand(heads, group, HEADS)
    return torch.cat([(query @ queries).unflatten(2, (HEADS, DIM)), gates[..., None]], dim=3).flatten(1, 2)


def complete(index, cache, layer, params):
    """Return the index with the tokens that it does not cover yet, whose keys are read."""
    stored = {"codes": index["codes"], "mean": index["mean"]}
    newest = torch.arange(stored["codes"].shape[1], cache.n, device=stored["codes"].device)
    return append(stored, cache.keys(newest.expand(len(stored["codes"]), -1)), layer, params)


def score(query, index, cache):
    """Return sum_h g_h relu(q_h . k), over the index heads of the whole group, [H, n]. query: what `embed` returned."""
    hits = (query[..., :-1] @ (index["codes"].to(query.dtype) * STEP).mT).relu()  # [H, G * HEADS, n]
    return (query[..., None, -1:].squeeze(2).mT @ hits).squeeze(1)


def choose(scores, count):
    """Return ids [H, min(count, n)]: the sinks, the window, then the best scores."""
    window = math.ceil(WINDOW_SHARE * count)
    scores = scores.clone()
    scores[:, :SINKS] = torch.inf
    scores[:, max(scores.shape[1] - window, 0) :] = torch.inf
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def select(query, index, cache, budget, layer, params):
    """Return the chosen tokens, each with probability 1: ids and prob [H, m]."""
    ids = choose(score(embed(query, layer, params), complete(index, cache, layer, params), cache), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device)
