"""vAttention over Quest with a tighter rule for the sample size (after Desai et al. 2025, arXiv:2510.05688).

I_f, pilot and sample as in `vattention`; what differs is how many tokens an (epsilon, delta) point takes. There N and
D are each held within a share, epsilon_1 and epsilon_2, and the output's error is at most
(epsilon_1 + epsilon_2) / (1 - epsilon_2). Here the numerator's part of that is one event: with o = N / D,

    N' / D' - o = (N' - o D') / D',   and N' - o D' estimates sum w (v - o) = 0,

so errors of N and D that cancel are not paid for. D' >= (1 - epsilon_2) D but for delta_2 (one-sided), |N' - o D'| <=
epsilon (1 - epsilon_2) |N| but for delta_1. Both with the finite-population factor. Three further changes:
- *Quantile of a norm.* |x|^2 of a normal vector with covariance C has mean tr C and variance 2 tr C^2. Its quantile is
  that of a chi-square with nu = (tr C)^2 / tr C^2 degrees of freedom, scaled (Satterthwaite; Wilson and Hilferty's cube
  root); the lemma's z^2 is the case nu = 1. C is the pilot's, whose tr C^2 is too large in the mean: nu errs low.
- *Variance.* The pilot's variance is replaced by an upper confidence limit of it, from the pilot's fourth moments; the
  two limits take delta / 8 each. They are as asymptotic as the lemma: a heavy token that no pilot sees is not bounded.
- The sample after the pilot may be smaller than it, down to LEAST tokens; HEAVY_SHARE is .3, since a heavy token that
  the predictor and the pilot both miss is what breaks promises.
What this saves, and how often promises are broken, is measured by benchmarks/estimators.py. At a token budget it is
`vattention`.
"""

import math

import torch

PUBLISHED = "none: a variant of ours"
VERIFIED = True
PAGE = 16
SINK_SHARE = 0.04
WINDOW_SHARE = 0.04
SAMPLE_SHARE = 0.5
HEAVY_SHARE = 0.3
PILOT_SHARE = 0.1
LEAST = 16


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


def sample_count(spread, tau, left):
    """Return how many of `left` tokens hold their sum's error within tau at `spread`, a quantile of one draw's size."""
    return (left / (1 + (tau / spread) ** 2 / left)).nan_to_num(nan=left)


def norm_quantile(terms, delta):
    """Return the 1 - delta quantile of the size of a draw's deviation, [..., delta's shape], in upper confidence.

    terms [H, G, b0, c]: the pilot's. The size of a sum of b of them is this times sqrt(b).
    """
    centred = terms - terms.mean(dim=2, keepdim=True)
    squares, size = centred.square().sum(dim=-1), terms.shape[2]
    variance = squares.sum(dim=2) / (size - 1)
    limit = variance + torch.special.ndtri(1 - delta[0]) * squares.std(dim=2) / size**0.5
    gram = (centred.mT @ centred / (size - 1)).square().sum(dim=(-2, -1))
    nu = (variance**2 / gram).nan_to_num(nan=1.0).clamp(min=1.0)[..., None]
    cube = 1 - 2 / (9 * nu) + torch.special.ndtri(1 - delta[1:]) * (2 / (9 * nu)).sqrt()
    # With one degree of freedom the cube root is off by a little: there the exact quantile is known.
    exact = torch.special.ndtri(1 - delta[1:] / 2).square()
    return (limit[..., None] * torch.where(nu < 1.5, exact, cube**3)).sqrt()


def counts_for(query, cache, heavy, probe, budget):
    """Return how many tokens to draw after the pilot `probe`, int [H], to meet budget.epsilon and budget.delta."""
    ids, sure = torch.cat([heavy, probe], dim=1), heavy.shape[1]
    rest = cache.n - ids.shape[1]
    if rest == 0:
        return torch.zeros(len(query), dtype=torch.long, device=query.device)
    logits = query @ cache.keys(ids).mT / query.shape[-1] ** 0.5
    w = (logits - logits.amax(dim=-1, keepdim=True)).exp()[..., None]  # [H, G, m, 1]
    values = cache.values(ids)[:, None]

    def total(terms):
        return terms[:, :, :sure].sum(dim=2) + (cache.n - sure) * terms[:, :, sure:].mean(dim=2)

    denominator = total(w)  # [H, G, 1]
    out = total(w * values) / denominator
    third = torch.tensor([budget.delta / 8], device=query.device)
    share = torch.linspace(0.05, 0.95, 19, device=query.device)
    epsilon_2, delta_2 = torch.cartesian_prod(share, share * (budget.delta - 2 * float(third))).T
    delta_1 = budget.delta - 2 * float(third) - delta_2
    deviation = w[:, :, sure:] * (values[:, :, sure:] - out[:, :, None])
    tau_1 = budget.epsilon * (1 - epsilon_2) * out.norm(dim=-1, keepdim=True) * denominator
    need_1 = sample_count(norm_quantile(deviation, torch.cat([third, delta_1])), tau_1, rest)
    spread = norm_quantile(w[:, :, sure:], torch.cat([third, 2 * delta_2]))  # one side of two
    need_2 = sample_count(spread, epsilon_2 * denominator, rest)
    need = torch.maximum(need_1, need_2).amin(dim=-1).amax(dim=1).ceil().long()
    return need.clamp(min=min(LEAST, rest))


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
