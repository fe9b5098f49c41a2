"""vAttention with a proof of its (epsilon, delta) at any number of tokens (after Desai et al. 2025, arXiv:2510.05688).

As there, N = sum w v and D = sum w are estimated from tokens read for sure and a random rest, and with |N' - N| <=
epsilon_1 |N| and |D' - D| <= epsilon_2 D the output N' / D' is off by at most (epsilon_1 + epsilon_2) / (1 - epsilon_2)
of its norm. The published sample size is asymptotic, in the central limit and in the pilot's variance: a heavy token
that no pilot sees is not bounded. A bound that holds at any size needs a cap on what is unseen:

- *Caps.* A key is kept in 6 bits a channel with the norm e of what these lose, so that q.k <= q.k' + |q| e (Cauchy and
  Schwarz), and with the norm of its value. They cap each weight, w <= u, and each summand, |w v| <= u |v|. (The box of
  a page caps logits too, but on the shipped documents 18 nats above the truth, so that all would have to be read.)
- *Design.* Token i is read with probability p_i = min(1, level x cap_i), independently of the others, and counts
  1 / p_i: likely heavy tokens are read for sure. All below holds given what was read before; s_i is 1 / p_i - 1.
- *Finite population.* The variance of a sum of x_i (w v, or w) is V = sum s_i |x_i|^2: what is read for sure has none.
- *Variance bound.* V' = sum of s_i |x_i|^2 / p_i over those read has mean V and independent terms in [0, K]. The lower
  tail of such sums (Maurer 2003) gives sqrt(V) <= sqrt(V' + K l) + sqrt(K l), l = ln(1 / delta_v) / 2, but for delta_v.
- *Error bound.* Bernstein's inequality in a Hilbert space (Pinelis 1994, theorem 3.4): the sum's error is at most
  a + sqrt(a^2 + 2 V L) but for delta_s, with L = ln(2 / delta_s) and a = L / 3 times the largest deviation of a term.

N (in norm) and D take two events each, the EVENTS of a stage's delta; with limits of their errors, epsilon_1 and
epsilon_2 are those over what the true sums are at least. A pilot forecasts the level; the draw at that level is judged
by its own bounds. Where they fail in a group, what was read is kept for sure and a second draw is judged by its own
share of delta (STAGES); if that fails too, the KV head reads everything. So P(|out - o| > epsilon |o|) <= delta at
each step and query head, over the draws alone, up to rounding in float32. Proved is the ratio, through both sums; not
proved is anything over many steps or heads at once. Tokens newer than the index are read for sure. Sums are unbiased
given what was read before; judging a draw before it is kept can bias them by as little as draws fail.
At a token budget nothing is proved: it is `vattention`, with 4 of the 6 bits as predictor.
"""

import math

import torch

PUBLISHED = "none: a variant of ours"
VERIFIED = True
LEVELS = 63
SINK_SHARE = 0.04
WINDOW_SHARE = 0.04
SAMPLE_SHARE = 0.5
PILOT = 64
STAGES = (0.8, 0.2)
EVENTS = {"numerator": (0.2, 0.5), "denominator": (0.15, 0.15)}  # delta_v and delta_s
STEP = 1.1
LEAST = 1e-4


def build(keys, values):
    """Return the mean key, float32 [H, d], and what `code` keeps of each token."""
    mean = keys.mean(dim=1)
    return {"mean": mean, **code(keys, values, mean)}


def append(index, keys, values):
    """Code generated tokens too, about the prompt's mean."""
    fresh = code(keys, values, index["mean"])
    return {"mean": index["mean"], **{name: torch.cat([index[name], fresh[name]], dim=1) for name in fresh}}


def code(keys, values, mean):
    """Return keys in 6 bits a channel, of which `coarse` has 4, and their scale, float16 [H, n, 4].

    The scale: least and step of the codes, then upper limits of the norms of what they lose and of the value.
    """
    keys = keys - mean[:, None]
    least = keys.amin(dim=2).half()
    step = above((keys.amax(dim=2) - least) / LEVELS)
    codes = ((keys - least[..., None]) / step[..., None]).round().clamp(0, LEVELS)
    lost = (keys - least[..., None] - step[..., None] * codes).norm(dim=2)
    scale = torch.stack([least, step, above(lost), above(values.norm(dim=2))], dim=2)
    return {"coarse": join(codes.byte() >> 2, 4), "fine": join(codes.byte() & 3, 2), "scale": scale}


def above(numbers):
    """Return numbers in float16 that are no smaller than these, which are not negative."""
    return (numbers * 1.001 + 1e-7).half()


def join(codes, width):
    """Return codes of `width` bits, uint8 [H, n, d], several in a byte."""
    each = 8 // width
    codes = torch.nn.functional.pad(codes, (0, -codes.shape[2] % each)).unflatten(2, (-1, each))
    return (codes << width * torch.arange(each, dtype=torch.uint8, device=codes.device)).sum(dim=3).byte()


def split(packed, width):
    """Return the codes of `join`, and those that filled the last byte."""
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=packed.device)
    return (packed[..., None] >> shifts & (1 << width) - 1).flatten(2)


def rounded(query, index, cache, names):
    """Return the logits of the keys as coded [H, G, n], by the coarse bits alone or the fine ones too, and `scale`."""
    stored = {name: index[name] for name in ("mean", "scale", *names)}
    newest = torch.arange(stored["scale"].shape[1], cache.n, device=query.device).expand(len(query), -1)
    keys = cache.keys(newest)
    fresh, d = code(keys, torch.zeros_like(keys), stored["mean"]), query.shape[2]
    index = {name: torch.cat([stored[name], fresh[name]], dim=1) for name in ("scale", *names)}
    fine = split(index["fine"], 2)[..., :d].to(query.dtype) if "fine" in names else 1.5
    codes = 4 * split(index["coarse"], 4)[..., :d].to(query.dtype) + fine
    least, step = index["scale"][:, None, :, :2].to(query.dtype).unbind(dim=3)
    logits = query @ stored["mean"][..., None] + query.sum(dim=2, keepdim=True) * least + query @ codes.mT * step
    return logits / d**0.5, index["scale"].to(query.dtype)


def caps(query, index, cache):
    """Return upper limits of the logits, [H, G, n], and of the values' norms, [H, n]: 0 where newer than the index."""
    logits, scale = rounded(query, index, cache, ("coarse", "fine"))
    lost, size = scale[..., 2:].unbind(dim=2)
    return logits + query.norm(dim=2, keepdim=True) / query.shape[2] ** 0.5 * lost[:, None], size


def score(query, index, cache):
    """Return the softmax of the logits by the coarse bits, summed over the group, [H, n]."""
    return rounded(query, index, cache, ("coarse",))[0].softmax(dim=-1).sum(dim=1)


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


def variance_limit(squares, prob, gain, cap, delta):
    """Return what the variance of an estimated sum exceeds with probability delta at most, [...].

    squares [..., n]: |x|^2 of the tokens read, 0 elsewhere. prob [..., n]: the probability that they were read with.
    gain [..., n]: 1 / p - 1 of the draw that is judged, 0 for what is read for sure. cap [..., n]: each |x| at most.
    """
    part = (gain * (1 + gain) * cap.square()).amax(dim=-1) * math.log(1 / delta) / 2
    return (((gain / prob * squares).sum(dim=-1) + part).sqrt() + part.sqrt()).square()


def error_limit(variance, gain, cap, delta):
    """Return what the error of an estimated sum of this variance exceeds with probability delta at most, [...]."""
    largest = (torch.where(gain > 0, gain.clamp(min=1), 0) * cap).amax(dim=-1)
    bend, log = largest * math.log(2 / delta) / 3, math.log(2 / delta)
    return bend + (bend.square() + 2 * variance * log).sqrt()


def holds(sums, gain, epsilon, delta):
    """Return whether all of a group stay within epsilon if they are estimated at `gain` [H, n]: bool [H, 1]."""
    epsilons = []
    for name, (total, squares, prob, cap) in sums.items():
        delta_v, delta_s = (delta * share for share in EVENTS[name])
        variance = variance_limit(squares, prob, gain[:, None], cap, delta_v)
        limit = error_limit(variance, gain[:, None], cap, delta_s)
        epsilons.append(limit / (total - limit).clamp(min=0))  # of the true sum, which is no less than that
    epsilon_1, epsilon_2 = epsilons
    return ((epsilon_1 + epsilon_2) / (1 - epsilon_2).clamp(min=0) <= epsilon).all(dim=1, keepdim=True)


def raised(level, enough):
    """Return the least levels [H, 1], from `level` on and in steps, for which enough(level) is true, or large ones."""
    for _ in range(400):
        short = ~enough(level)
        if not short.any():
            break
        level = torch.where(short, STEP * level, level)
    return level


def draw(query, index, cache, budget, rng):
    """Return which tokens are read, bool [H, n], and the probability that each had, 1 for sure, [H, n]."""
    upper, size = caps(query, index, cache)
    top, covered = upper.amax(dim=-1, keepdim=True), index["scale"].shape[1]
    upper = (upper - top).exp()
    weight = (upper / upper.sum(dim=-1, keepdim=True) * (size + size.mean(dim=1, keepdim=True))[:, None]).amax(dim=1)
    weight[:, covered:] = torch.inf

    def rate(level):
        return (level * weight).clamp(LEAST, 1)

    def read(taken, prob):  # of both sums: the estimate, |x|^2, the probability, the cap on |x|
        ids, real = listed(taken)
        w = (query @ cache.keys(ids).mT / query.shape[2] ** 0.5 - top).exp() * real[:, None]
        values, part = cache.values(ids), w / prob.gather(1, ids)[:, None]
        squares = torch.zeros_like(upper).scatter_add(2, ids[:, None].expand(w.shape), w.square())
        sizes = torch.zeros_like(size).scatter(1, ids, values.square().sum(dim=2))[:, None]
        numerator = (part @ values).norm(dim=2), squares * sizes, prob[:, None], upper * size[:, None]
        return {"numerator": numerator, "denominator": (part.sum(dim=2), squares, prob[:, None], upper)}

    def forecast(level, done, seen, delta):
        def enough(level):
            return done | holds(seen, 1 / rate(level) - 1, budget.epsilon, delta)

        return STEP * raised(level, enough)

    start = PILOT / weight[:, :covered].sum(dim=1, keepdim=True)
    level = raised(start, lambda level: rate(level).sum(dim=1, keepdim=True) >= min(PILOT, cache.n))
    prob = rate(level)
    taken = torch.rand(prob.shape, generator=rng, device=prob.device) < prob
    done = torch.zeros_like(level, dtype=torch.bool)
    for share in STAGES:
        sure, delta = taken, share * budget.delta
        level = forecast(level, done, read(taken, prob), delta)
        fresh = torch.where(sure, 1.0, rate(level))
        drawn = sure | (torch.rand(prob.shape, generator=rng, device=prob.device) < fresh)
        prob, taken = torch.where(done, prob, fresh), torch.where(done, taken, drawn)
        done = done | holds(read(taken, prob), torch.where(sure, 0, 1 / prob - 1), budget.epsilon, delta)
        if done.all():
            break
    return taken | ~done, torch.where(done, prob, 1.0)


def listed(mask):
    """Return the ids that are set in `mask` [H, n], the first again where a row has fewer, and which are no such."""
    count = mask.sum(dim=1, keepdim=True)
    ids = mask.int().sort(dim=1, descending=True, stable=True).indices[:, : int(count.max())]
    real = torch.arange(ids.shape[1], device=ids.device) < count
    return ids.where(real, ids[:, :1]), real


def select(query, index, cache, budget, rng):
    """Return what is kept for sure (probability 1) and the sample (its inclusion probability): ids and prob [H, m]."""
    if getattr(budget, "tokens", None) is not None:
        drawn = round(SAMPLE_SHARE * budget.tokens)
        fixed = choose(score(query, index, cache), budget.tokens - drawn)
        ids, prob = sample(fixed, cache.n, torch.full((len(query),), drawn, device=query.device), rng)
        return torch.cat([fixed, ids], dim=1), torch.cat([torch.ones(fixed.shape, device=query.device), prob], dim=1)
    taken, prob = draw(query, index, cache, budget, rng)
    ids, real = listed(taken)
    return ids.masked_fill(~real, -1), prob.gather(1, ids).masked_fill(~real, 1.0)
