"""HashAttention: rank tokens by learned bits of queries and keys (Desai et al. 2024, arXiv:2412.14468).

    h(x) = sign(W3 silu(W2 silu(W1 x))),  score = sum over the group of <h_q, h_k> in {-1, 1}^32,  kept = top-k.

Networks d -> d -> d -> 32 for keys and for the group's queries, by (layer, KV head), from the parameter file: trained
on texts of the search split by training/hash_attention.py. They hold for SmolLM2-135M-Instruct; for a layer, width or
number of heads without weights the bits are signs of 32 fixed random projections. Keys are hashed after centring by
the prompt's mean, which moves all logits alike. Index: 32 bits a token (XOR and a table of bit counts), and the mean.

The public code has a network for each query head and hashes repeated keys, so that its index takes 32 G bits a KV head.

Sinks and window are 128 each at 32k in the paper; here they count against the budget and shrink with it.
"""

import math

import torch

PUBLISHED = (
    "RULER-HARD-32K six-task mean, Llama-3.1-8B, dense 87.9 (Skylight experiments): 49.5/69.1/80.5/85.6 at 2/5/10/20 %"
)
BITS = 32
BYTE = 2 ** torch.arange(8)
POPCOUNT = torch.tensor([bin(byte).count("1") for byte in range(256)])
SINKS = 4
WINDOW_SHARE = 0.1


def bits(x, side, layer, params):
    """Return the bits of x [H, m, d], bool [H, m, BITS]: what the mapping of its side, "q" or "k", gives above 0."""
    heads, _, d = x.shape
    first = params.get(f"{side}1")
    if first is None or layer >= len(first) or first.shape[1:3] != (heads, d + 1):
        return x @ torch.randn(d, BITS, generator=torch.Generator().manual_seed(d)).to(x.device) > 0
    for depth in (1, 2, 3):
        x = torch.nn.functional.silu(x) if depth > 1 else x
        weight = params[f"{side}{depth}"][layer].to(x)  # [H, inputs and a bias, outputs]
        x = torch.baddbmm(weight[:, -1:], x, weight[:, :-1])
    return x > 0


def pack(bits):
    """Return bits [..., BITS] as bytes, uint8 [..., BITS / 8]."""
    return (bits.unflatten(-1, (-1, 8)) * BYTE.to(bits.device)).sum(dim=-1).byte()


def build(keys, layer, params):
    """Return the packed bits of the centred keys, [H, n, BITS / 8], and the keys' mean, [H, 1, d]."""
    mean = keys.mean(dim=1, keepdim=True)
    return {"codes": pack(bits(keys - mean, "k", layer, params)), "mean": mean}


def append(index, keys, layer, params):
    """Hash generated keys too, centred by the prompt's mean."""
    fresh = pack(bits(keys - index["mean"], "k", layer, params))
    return {"codes": torch.cat([index["codes"], fresh], dim=1), "mean": index["mean"]}


def embed(query, layer, params):
    """Return the packed bits of the queries, [H, G, BITS / 8]."""
    return pack(bits(query, "q", layer, params))


def complete(index, cache, layer, params):
    """Return the index with the tokens that it does not cover yet, whose keys are read."""
    stored = {"codes": index["codes"], "mean": index["mean"]}
    newest = torch.arange(stored["codes"].shape[1], cache.n, device=stored["codes"].device)
    return append(stored, cache.keys(newest.expand(len(stored["codes"]), -1)), layer, params)


def score(query, index, cache):
    """Return how many bits agree less how many differ, summed over the group, [H, n]. query: what `embed` returned."""
    every = torch.arange(256, dtype=torch.uint8, device=query.device)
    differing = POPCOUNT.to(query.device)[(query[..., None] ^ every).long()].sum(dim=1)  # [H, BITS / 8, 256]
    agreeing = query.shape[1] * BITS - 2 * differing.gather(2, index["codes"].mT.long()).sum(dim=1)
    return agreeing.float()


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
