"""vAttention over Quest: heavy hitters, and a verified sample of the rest (Desai et al. 2025, arXiv:2510.05688).

I_f = sinks, window and the predictor's best tokens. From the residual R (n_s tokens) a uniform sample without
replacement estimates N = sum w v and D = sum w; out = N / D. Central limit lemma, for a sum to stay within tau of the
truth with probability 1 - delta: b >= (z n_s S / tau)^2, z = Phi^-1(1 - delta / 2), S^2 = Var(w) or Tr Var(w v); with
the finite-population factor, b >= n_s / (1 + (tau / (z S))^2 / n_s).
MODE "denominator": tau = epsilon D.  "numerator": tau = epsilon |N|.  "output": both, with epsilon_1 and epsilon_2
such that (epsilon_1 + epsilon_2) / (1 - epsilon_2) = epsilon and delta_1 + delta_2 = delta: the cheapest such split.

S, N and D come from a pilot of R. Its tokens are then kept for sure and the sample is drawn from what is left, so that
nothing read is wasted and, given the pilot, both sums are unbiased. The public code (Sparse Attention Hub) verifies
the denominator only, samples with replacement from all tokens between sinks and window, heavy ones included, takes a
one-sided quantile, and finds the row's maximum by reading every key; here it is the maximum over the tokens read.
Sinks and window are 128 each at 32k in the paper; here they are a share of what is kept for sure. HEAVY_SHARE and
PILOT_SHARE are the paper's .1 of the context. The group shares one set: the largest sample that any of its heads
needs. At a token budget the sample gets SAMPLE_SHARE of it, and there is no pilot.
"""

import math

import torch

PUBLISHED = "RULER-32K-HARD at 10 %, Llama-3.1-8B, over HashAttention: 86.56 of 88.74 dense, HashAttention 81.94"
VERIFIED = True
MODE = "output"
PAGE = 16
SINK_SHARE = 0.04
WINDOW_SHARE = 0.04
SAMPLE_SHARE = 0.5
HEAVY_SHARE = 0.1
PILOT_SHARE = 0.1


def build(keys):
    """Return the bounds of all pages, [2, H, pages, d], the last one maybe part full, and the tokens they cover."""
    heads, n, d = keys.shape
    pages = -(-n // PAGE)
    slots = torch.arange(pages * PAGE, device=keys.device).clamp(max=n - 1)  # an empty slot repeats the last key
    paged = keys[:, slots].reshape(heads, pages, PAGE, d)
    bounds = torch.stack([paged.amin(dim=2), paged.amax(dim=2)])
    return {"bounds": bounds.half(), "covered": torch.tensor([n], device=keys.device)}


def append(index, keys):
    """Fold generated keys into the pages. In a page that is part full, its two corners stand for the keys it has."""
    bounds, covered = index["bounds"], int(index["covered"])
    corners = bounds[torch.arange(covered % PAGE, device=keys.device) % 2, :, -1].transpose(0, 1)
    fresh = build(torch.cat([corners.to(keys.dtype), keys], dim=1))
    bounds = torch.cat([bounds[:, :, : covered // PAGE], fresh["bounds"]], dim=2)
    return {"bounds": bounds, "covered": index["covered"] + keys.shape[1]}


def score(query, index, cache):
    """Return the group's largest bound on each token's logit (without 1 / sqrt(d)), [H, n]."""
    stored = {"bounds": index["bounds"], "covered": index["covered"]}
    newest = torch.arange(int(stored["covered"]), cache.n, device=query.device).expand(len(query), -1)
    lower, upper = append(stored, cache.keys(newest))["bounds"].to(query.dtype)
    bound = (query.clamp(min=0) @ upper.mT + query.clamp(max=0) @ lower.mT).amax(dim=1)
    return bound.repeat_interleave(PAGE, dim=1)[:, : cache.n]


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


def select(query, index, cache, budget, rng):
    """Return what is kept for sure (probability 1) and the sample (its inclusion probability): ids and prob [H, m]."""
    scores = score(query, index, cache)
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
