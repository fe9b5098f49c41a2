"""vAttention (Desai et al. 2025, arXiv:2510.05688) over
HashAttention (Desai et al. 2024, arXiv:2412.14468).

    h(x) = sign(W3 silu(W2 silu(W1 x))),  score = sum over the group of <h_q, h_k> in {-1, 1}^32.

Networks d -> d -> d -> 32 for keys and for the group's queries, by (layer, KV head), from the parameter file: trained
on texts of the search split by training/hash_attention.py. They hold for SmolLM2-135M-Instruct; for a layer, width or
number of heads without weights the bits are signs of 32 fixed random projections. Keys are hashed after centring by
the prompt's mean, which moves all logits alike. Index: 32 bits a token (XOR and a table of bit counts), and the mean.

The public code has a network for each query head and hashes repeated keys, so that its index takes 32 G bits a KV head.

I_f = sinks, window and the predictor's best tokens. From the residual R (n_s tokens) a uniform sample without
replacement estimates N = sum w v and D = sum w; out = N / D. Sample size by the central limit lemma, pilot, modes and
differences from the public code are those of the seed vattention; only the predictor differs. The group shares one
set. At a token budget the sample gets SAMPLE_SHARE of it, and there is no pilot.
"""

import math

import torch

PUBLISHED = (
    "RULER-HARD-32K six-task mean, Llama-3.1-8B, dense 87.9 (Skylight experiments): 42.1/69.3/83.4/87.5 at 2/5/10/20 %"
)
VERIFIED = True
MODE = "output"
BITS = 32
BYTE = 2 ** torch.arange(8)
POPCOUNT = torch.tensor([bin(byte).count("1") for byte in range(256)])
SINK_SHARE = 0.04
WINDOW_SHARE = 0.04
SAMPLE_SHARE = 0.5
HEAVY_SHARE = 0.1
PILOT_SHARE = 0.1


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
