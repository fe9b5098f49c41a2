"""vAttention (Desai et al. 2025, arXiv:2510.05688) over
Double Sparsity (Yang et al. 2024, arXiv:2408.07092).

    channels = the CHANNELS of largest mean |q_c| |k_c|,  score = softmax(sum_c q_c k_c) summed over the group.

The paper calibrates channels offline, on other texts; here they are those of the prompt: its last queries and its keys
behind the sinks, centred (which moves all logits alike). Codes have 4 bits on a range fixed for each head and channel
by the prompt; the paper's have a scale for each token, which its bits do not count. The Sparse Attention Hub sums
scores over all heads and has one set a layer. Index: 32 bits a token, channels and ranges.

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
CHANNELS = 8
LEVELS = 15
SINKS = 4
SINK_SHARE = 0.04
WINDOW_SHARE = 0.04
SAMPLE_SHARE = 0.5
HEAVY_SHARE = 0.1
PILOT_SHARE = 0.1


def build(keys, queries):
    """Return the codes [H, n, CHANNELS / 2], the channels [H, CHANNELS], and their least value and step [H, C, 2]."""
    middle = keys[:, SINKS:] if keys.shape[1] > SINKS else keys
    weight = queries.abs().mean(dim=(1, 2)) if queries.shape[2] else torch.ones_like(keys[:, 0])
    channels = (weight * (middle - middle.mean(dim=1, keepdim=True)).abs().mean(dim=1)).sort(
        descending=True, stable=True
    )
    channels = channels.indices[:, :CHANNELS]
    kept = middle.gather(2, channels[:, None].expand(-1, middle.shape[1], -1))
    least = kept.amin(dim=1)
    scale = torch.stack([least, (kept.amax(dim=1) - least) / LEVELS], dim=2)
    index = {"channels": channels.short(), "scale": scale}
    return {**index, "codes": quantise(keys, index)}


def quantise(keys, index):
    """Return the codes of keys [H, m, d], two channels in a byte, uint8 [H, m, CHANNELS / 2]."""
    kept = keys.gather(2, index["channels"].long()[:, None].expand(-1, keys.shape[1], -1))
    least, step = index["scale"][:, None].unbind(dim=3)
    codes = ((kept - least) / step.clamp(min=1e-30)).round().clamp(0, LEVELS).byte()
    codes = torch.nn.functional.pad(codes, (0, codes.shape[2] % 2))
    return codes[..., ::2] + 16 * codes[..., 1::2]


def append(index, keys):
    """Quantise generated keys too; what leaves the prompt's range is cut."""
    codes = torch.cat([index["codes"], quantise(keys, index)], dim=1)
    return {"channels": index["channels"], "scale": index["scale"], "codes": codes}


def score(query, index, cache):
    """Return the softmax of the logits over the kept channels alone, summed over the group, [H, n]."""
    stored = {name: index[name] for name in ("channels", "scale", "codes")}
    newest = torch.arange(stored["codes"].shape[1], cache.n, device=query.device).expand(len(query), -1)
    codes = append(stored, cache.keys(newest))["codes"]
    codes = torch.stack([codes & 15, codes >> 4], dim=3).flatten(2)[..., : stored["channels"].shape[1]]
    kept = query.gather(2, stored["channels"].long()[:, None].expand(-1, query.shape[1], -1))
    weight = kept * stored["scale"][:, None, :, 1] / query.shape[2] ** 0.5  # the least value moves all logits alike
    return (weight @ codes.to(query.dtype).mT).softmax(dim=-1).sum(dim=1)


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
