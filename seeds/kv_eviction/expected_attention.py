"""Expected Attention: the attention that a Gaussian of future queries would pay (Devoto et al. 2025, arXiv:2510.00636).

Queries before RoPE are taken as N(mu, S), each query head its own. R is the mean rotation of the next FUTURE positions;
mu' = R mu, S' = R S R'. E_j = softmax_j(mu' k_j / sqrt(d) + k_j' S' k_j / 2d), mean over the group; then
score_j = (E_j + EPSILON) |v_j|_2. The first SINKS tokens stay, and their queries are left out of mu and S.

Heads of a layer share one budget as in AdaKV, with EPSILON = 0.01: kvpress' registered form (its class alone has
EPSILON = 0 and equal heads).
"""

import torch

PUBLISHED = "none at this length"
SINKS = 4
FUTURE = 512
EPSILON = 1e-2
SAFEGUARD = 0.2


def rotate(vectors, place, rope_base):
    """Return rotary vectors [..., n, d] turned by `place` [n] positions; channel i is paired with i + d / 2."""
    if rope_base is None:
        return vectors
    half = vectors.shape[-1] // 2
    speed = rope_base ** (-torch.arange(half, device=vectors.device) / half)
    angle = place[:, None] * speed
    low, high = vectors[..., :half], vectors[..., half:]
    return torch.cat([low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()], dim=-1)


def forecast(queries, rope_base):
    """Return mean [H, G, d] and covariance [H, G, d, d] of the queries to come."""
    n, d = queries.shape[2:]
    place = torch.arange(n + FUTURE, device=queries.device, dtype=queries.dtype)
    plain = rotate(queries, -place[:n], rope_base)[:, :, min(SINKS, n - 1) :]
    mean = plain.mean(dim=2)
    centred = plain - mean[:, :, None]
    covariance = centred.mT @ centred / centred.shape[2]
    basis = torch.eye(d, device=queries.device)[:, None].expand(-1, FUTURE, -1)
    turn = rotate(basis, place[n:], rope_base).mean(dim=1).T  # its columns are the turned basis
    return mean @ turn.T, turn @ covariance @ turn.T


def score(keys, values, queries, rope_base):
    """Return the importance of each token, [H, n]."""
    d = keys.shape[-1]
    mean, covariance = forecast(queries, rope_base)
    linear = mean @ keys.mT / d**0.5
    square = ((keys[:, None] @ covariance) * keys[:, None]).sum(dim=-1) / (2 * d)
    logits = linear + square
    logits[:, :, :SINKS] = -torch.inf
    expected = logits.softmax(dim=-1).nan_to_num().mean(dim=1)
    scores = (expected + EPSILON) * values.norm(dim=-1)
    first = torch.arange(keys.shape[1], device=keys.device)[:SINKS]
    scores[:, :SINKS] = 2 * scores.max() + SINKS - first
    return scores


def allot(scores, budget):
    """Return which tokens stay, [L, H, n]: a safe share for each head, the rest to the best of the layer."""
    layers, heads, n = scores.shape
    safe = scores.sort(dim=2, descending=True, stable=True).indices[..., : int(SAFEGUARD * budget.tokens)]
    flat = scores.scatter(2, safe, torch.inf).flatten(1)
    best = flat.sort(dim=1, descending=True, stable=True).indices[:, : heads * budget.tokens]
    return torch.zeros_like(flat, dtype=torch.bool).scatter(1, best, True).view(layers, heads, n)
