"""The twin of vAttention's step: plain PyTorch in float64, one KV head after the other, on the same random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

MASK = 0xFFFFFFFF
DIGITS = 12
"""Binary digits of a token's number."""
NUMBERS = 1 << DIGITS


def philox(seed: int, counter: torch.Tensor, stream: int, call: int = 0) -> tuple[torch.Tensor, ...]:
    """Philox 4x32-10 (Salmon et al. 2011) of (counter, stream, call, 0): four int64 tensors, each below 2^32."""
    c0, c1 = counter.long() & MASK, torch.full_like(counter, stream, dtype=torch.int64)
    c2, c3 = torch.full_like(c0, call), torch.zeros_like(c0)
    k0, k1 = seed & MASK, seed >> 32 & MASK
    for _ in range(10):
        high_b, low_b = _product(c2, 0xCD9E8D57)
        high_a, low_a = _product(c0, 0xD2511F53)
        c0, c1, c2, c3 = high_b ^ c1 ^ k0, low_b, high_a ^ c3 ^ k1, low_a
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def _product(x: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper and the lower half of products of 32 bits, by halves of 16, since 64 signed bits do not hold them."""
    low, high = x * (factor & 0xFFFF), x * (factor >> 16)
    whole = (low >> 16) + high
    return whole >> 16, ((whole & 0xFFFF) << 16) + (low & 0xFFFF)


def numbers(seed: int, unit: int, n: int) -> torch.Tensor:
    """The random number of each token of a unit, int64 [n], uniform in [0, 2^12): its digits are bits of 12 words."""
    token = torch.arange(n)
    words = [word for call in range(DIGITS // 4) for word in philox(seed, token // 32, unit, call)]
    return torch.stack([(word >> token % 32 & 1) << digit for digit, word in enumerate(words)]).sum(dim=0)


@dataclass(frozen=True)
class Drawn:
    """What the step attends to in one KV head.

    Attributes:
        ids: the predictor's tokens, the pilot's and the sample's, int64 [m].
        log_prob: of each, float64 [m].
        pilot: how many of the ids are the pilot's.
        needed: the sample's size by the rule, before it is rounded.
        wanted: the size that is aimed at, at the least.
    """

    ids: torch.Tensor
    log_prob: torch.Tensor
    pilot: int
    needed: float
    wanted: int


def sample(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    fixed: torch.Tensor,
    promises: list[list[float]],
    uniform: torch.Tensor,
    *,
    share: int,
    least: int,
    wanted: int | None = None,
) -> Drawn:
    """Draw pilot and sample of one KV head.

    Args:
        query: [G, d].
        keys: [n, d], the visible tokens.
        values: [n, d].
        fixed: distinct ids that are kept for sure.
        promises: as of `vattention.promised`.
        uniform: the tokens' random numbers, int64 [n].
        share: of the residual for the pilot, in 65536ths.
        least: tokens of pilot and sample.
        wanted: the sample's size, where it is not to be computed.
    """
    n = len(keys)
    residual = torch.ones(n, dtype=torch.bool)
    residual[fixed] = False
    left = int(residual.sum())
    tried = max(left * share >> 16, least)
    end = -(-tried * NUMBERS // left) if tried < left else NUMBERS
    pilot = (residual & (uniform < end)).nonzero()[:, 0]
    rest = left - len(pilot)

    need = need_of(query, keys, values, fixed, pilot, promises, left)
    if wanted is None:
        wanted = min(max(math.ceil(need), len(pilot), least), rest)
    aim = math.ceil(wanted + 3 * math.sqrt(wanted * (1 - wanted / max(rest, 1))))
    until = end + -(-(NUMBERS - end) * aim // max(rest, 1)) if aim < rest else NUMBERS
    drawn = (residual & (uniform >= end) & (uniform < until)).nonzero()[:, 0]
    sure = torch.zeros(len(fixed) + len(pilot), dtype=torch.float64)
    log_prob = torch.full((len(drawn),), math.log(max(len(drawn), 1) / max(rest, 1)), dtype=torch.float64)
    return Drawn(torch.cat([fixed, pilot, drawn]), torch.cat([sure, log_prob]), len(pilot), need, wanted)


def need_of(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    fixed: torch.Tensor,
    pilot: torch.Tensor,
    promises: list[list[float]],
    left: int,
) -> float:
    """How many tokens of the residual less the pilot the lemma asks for: the dearest head's cheapest promise."""
    rest = left - len(pilot)
    if len(pilot) < 2:
        return float(rest)
    logits = query.double() @ keys.double().T / query.shape[1] ** 0.5
    read = torch.cat([fixed, pilot])
    weights = (logits - logits[:, read].amax(dim=1, keepdim=True)).exp()
    dearest = 0.0
    for w in weights:
        terms = torch.cat([w[:, None] * values.double(), w[:, None]], dim=1)  # [n, d + 1]
        total = terms[fixed].sum(dim=0) + left * terms[pilot].mean(dim=0)
        variance = terms[pilot].var(dim=0)
        numerator = (float(total[:-1].norm()), float(variance[:-1].sum().sqrt()))
        denominator = (float(total[-1]), float(variance[-1].sqrt()))
        cheapest = math.inf
        for epsilon_n, z_n, epsilon_d, z_d in promises:
            needs = [0.0]
            for (whole, spread), epsilon, z in ((numerator, epsilon_n, z_n), (denominator, epsilon_d, z_d)):
                if z * spread > 0:
                    needs.append(rest / (1 + (epsilon * whole / (z * spread)) ** 2 / max(rest, 1)))
            cheapest = min(cheapest, max(needs))
        dearest = max(dearest, cheapest)
    return dearest
