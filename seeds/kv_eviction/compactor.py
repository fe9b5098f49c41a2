"""Compactor: outlying keys and local attention, no question needed (Chari & Van Durme 2025, arXiv:2507.08143).

score = rho leverage + z(avgpool_3(A |v|_2)).
leverage: X = (K - mean K) Phi, K before RoPE, Phi Gaussian [d, SKETCH]; z(diag(X (X'X + RIDGE I)^-1 X')).
A: column sums of softmax(q k / sqrt(d)) inside chunks of CHUNK tokens, without a causal mask, mean over the group.
rho is the share that is dropped, as in kvpress. The first FIRST and last LAST tokens stay, a third and a sixth of the
budget at most.

kvpress z-scores over all heads and batch items together, so that they interact, and leaves out 1 / sqrt(d) in A (as the
authors' code); here every head is scored by itself, and logits are scaled. It solves with a Cholesky factor, as here.
"""

import torch

PUBLISHED = "RULER, Llama-3.1-8B, 25/50/75/95 % dropped: 94.0/87.7/77.8/63.5"
SKETCH = 48
RIDGE = 1e-2
CHUNK = 256
FIRST = 8
LAST = 4


def rotate(vectors, place, rope_base):
    """Return rotary vectors [..., n, d] turned by `place` [n] positions; channel i is paired with i + d / 2."""
    if rope_base is None:
        return vectors
    half = vectors.shape[-1] // 2
    speed = rope_base ** (-torch.arange(half, device=vectors.device) / half)
    angle = place[:, None] * speed
    low, high = vectors[..., :half], vectors[..., half:]
    return torch.cat([low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()], dim=-1)


def standard(scores):
    """Return scores [H, n] with mean 0 and deviation 1 in each head."""
    return (scores - scores.mean(dim=1, keepdim=True)) / scores.std(dim=1, keepdim=True).clamp(min=1e-6)


def leverage(keys, rope_base, rng):
    """Return the leverage of each key among all, on a sketch of the keys before RoPE, [H, n]."""
    heads, n, d = keys.shape
    plain = rotate(keys, -torch.arange(n, device=keys.device, dtype=keys.dtype), rope_base)
    sketch = torch.randn(heads, d, SKETCH, generator=rng, device=keys.device) / SKETCH**0.5
    x = ((plain - plain.mean(dim=1, keepdim=True)) @ sketch).double()  # few or long keys: the ridge is all that is left
    factor = torch.linalg.cholesky(x.mT @ x + RIDGE * torch.eye(SKETCH, device=keys.device).double())
    return (x.mT * torch.cholesky_solve(x.mT, factor)).sum(dim=1).to(keys.dtype)


def local(keys, queries):
    """Return how much attention each token gets from all queries of its chunk, later and earlier ones, [H, n]."""
    found = []
    for start in range(0, keys.shape[1], CHUNK):
        chunk = keys[:, None, start : start + CHUNK]
        logits = queries[:, :, start : start + CHUNK] @ chunk.mT / keys.shape[-1] ** 0.5
        found.append(logits.softmax(dim=-1).sum(dim=2).mean(dim=1))
    return torch.cat(found, dim=1)


def score(keys, values, queries, budget, rope_base, rng):
    """Return the importance of each token, [H, n]."""
    first, last = min(FIRST, budget.tokens // 3), min(LAST, budget.tokens // 6)
    middle = slice(first, keys.shape[1] - last)
    attention = local(keys[:, middle], queries[:, :, middle]) * values[:, middle].norm(dim=-1)
    pooled = torch.nn.functional.avg_pool1d(attention, 3, stride=1, padding=1)
    blend = (1 - budget.share) * standard(leverage(keys, rope_base, rng)[:, middle]) + standard(pooled)
    return torch.nn.functional.pad(blend, (first, last), value=torch.inf)
