"""vAttention (Desai et al. 2025, arXiv:2510.05688) over
a lightning indexer (DeepSeek-AI 2025, arXiv:2512.02556).

    I = sum_h g_h ReLU(q_h . k),  k = layer_norm(W_k key),  q_h = W_h query,  g_h = w_h . query.

DeepSeek's indexer has 64 heads, one 128-wide key a token in FP8 (1056 bits with its scale), and takes queries and
gates from hidden states. Here each KV head has one DIM-wide int8 key a token, HEADS index heads for each query head of
its group, and projections of queries and keys themselves, from the parameter file: trained on texts of the search
split by training/lightning_indexer.py, for SmolLM2-135M-Instruct. For a layer, width or number of heads without
weights, q . k is taken in one fixed random projection. No Hadamard rotation: at this width rounding loses little.
Index: 128 bits a token, of keys centred by the prompt's mean (which moves all logits alike), and the mean.

I_f = sinks, window and the predictor's best tokens. From the residual R (n_s tokens) a uniform sample without
replacement estimates N = sum w v and D = sum w; out = N / D. Sample size by the central limit lemma, pilot, modes and
differences from the public code are those of the seed vattention; only the predictor differs. The group shares one
set. At a token budget the sample gets SAMPLE_SHARE of it, and there is no pilot.
"""

import math

import torch

PUBLISHED = "none that can be held against ours"
VERIFIED = True
MODE = "output"
DIM = 16
HEADS = 4
STEP = 1 / 32
SINK_SHARE = 0.04
WINDOW_SHARE = 0.04
SAMPLE_SHARE = 0.5
HEAVY_SHARE = 0.1
PILOT_SHARE = 0.1


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
    sinks, window = math.ceil(SINK_SHARE * count), math.ceil(WINDOW_SHARE * count)
    scores = scores.clone()
    scores[:, :sinks] = torch.inf
    scores[:, max(scores.shape[1] - window, 0) :] = torch.inf
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def sample(fixed, n, counts, rng):
    """Draw uniformly, without replacement, from the tokens below n that are not in `fixed`.

    fixed [H, k] distinct ids; counts int [H]. Returns ids [H, max(counts)], -1 beyond a head's count, and their prob.
    """
    left = n - fixed.shape[1]
    counts = counts.clamp(max=left)
    order = torch.rand(len(fixed), n, generator=rng, device=fixed.device).scatter(1, fixed, -1.0)
    ids = order.topk(int(counts.max()), dim=1).indices
    unused = torch.arange(ids.shape[1], device=ids.device) >= counts[:, None]
    prob = (counts / max(left, 1))[:, None].expand(ids.shape)
    return ids.masked_fill(unused, -1), prob.masked_fill(unused, 1.0)


def pilot(heavy, n, rng):
    """Return a small uniform sample of the residual of `heavy` [H, k]: ids [H, b0]."""
    left = n - heavy.shape[1]
    size = min(max(2, int(PILOT_SHARE * left)), left)
    return sample(heavy, n, torch.full((len(heavy),), size, device=heavy.device), rng)[0]


def sample_size(spread, tau, delta, left):
    """Return how many of `left` tokens hold their sum's error within tau with probability 1 - delta, as a float."""
    z = torch.special.ndtri(1 - delta / 2)
    return (left / (1 + (tau / (z * spread)) ** 2 / left)).nan_to_num(nan=left)


def counts_for(query, cache, heavy, probe, budget):
    """Return how many tokens to draw after the pilot `probe`, int [H], to meet budget.epsilon and budget.delta."""
    ids, sure = torch.cat([heavy, probe], dim=1), heavy.shape[1]
    rest = cache.n - ids.shape[1]
    if rest == 0:
        return torch.zeros(len(query), dtype=torch.long, device=query.device)
    logits = query @ cache.keys(ids).mT / query.shape[-1] ** 0.5
    w = (logits - logits.amax(dim=-1, keepdim=True)).exp()  # [H, G, m]
    epsilon, delta = budget.epsilon, torch.tensor(budget.delta, device=query.device)

    def size(terms, epsilon, delta):  # terms [H, G, m, c]: what is summed, over the tokens read
        mean = terms[:, :, sure:].mean(dim=2, keepdim=True)
        total = terms[:, :, :sure].sum(dim=2) + (cache.n - sure) * mean[:, :, 0]
        squares = (terms[:, :, sure:] - mean).square().sum(dim=(2, 3))
        spread = (squares / (probe.shape[1] - 1)).sqrt()
        return sample_size(spread[..., None], epsilon * total.norm(dim=-1)[..., None], delta, rest)

    if MODE == "denominator":
        need = size(w[..., None], epsilon, delta)
    else:
        wv = w[..., None] * cache.values(ids)[:, None]
        if MODE == "numerator":
            need = size(wv, epsilon, delta)
        else:
            share = torch.linspace(0.05, 0.95, 19, device=query.device)
            epsilon_2, delta_2 = torch.cartesian_prod(share * epsilon / (1 + epsilon), share * delta).T
            epsilon_1 = epsilon * (1 - epsilon_2) - epsilon_2
            need = torch.maximum(size(wv, epsilon_1, delta - delta_2), size(w[..., None], epsilon_2, delta_2))
    need = need.amin(dim=-1).amax(dim=1).ceil().long()
    return need.clamp(min=probe.shape[1])


def select(query, index, cache, budget, layer, params, rng):
    """Return what is kept for sure (probability 1) and the sample (its inclusion probability): ids and prob [H, m]."""
    scores = score(embed(query, layer, params), complete(index, cache, layer, params), cache)
    if getattr(budget, "tokens", None) is not None:
        drawn = round(SAMPLE_SHARE * budget.tokens)
        fixed = choose(scores, budget.tokens - drawn)
        counts = torch.full((len(query),), drawn, device=query.device)
    else:
        heavy = choose(scores, math.ceil(HEAVY_SHARE * cache.n))
        probe = pilot(heavy, cache.n, rng)
        fixed = torch.cat([heavy, probe], dim=1)
        counts = counts_for(query, cache, heavy, probe, budget)
    ids, prob = sample(fixed, cache.n, counts, rng)
    return torch.cat([fixed, ids], dim=1), torch.cat([torch.ones(fixed.shape, device=query.device), prob], dim=1)
