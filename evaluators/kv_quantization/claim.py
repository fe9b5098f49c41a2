"""The claim `UNBIASED = True`: over the shared randomness, decoded keys give the right inner products on average."""

from __future__ import annotations

import numpy as np

from vevolve.evaluators.kv_quantization.codec import Prompt, Terms, decode, encode
from vevolve.evaluators.sparse_decode.session import parameters
from vevolve.types import Seed, Subject, Value

DRAWS = 32
"""Independent draws of the shared randomness."""
ROUNDING = 0.002
"""Relative bias that is excused: float16 norms, and a normal approximation over the draws."""
ERRORS = 4
"""Standard errors that are excused. An honest claim is called broken about once in 16,000 examinations."""


class Claim(Value):
    """What became of the claim.

    Attributes:
        gain: mean over draws of the slope of q·k' over q·k, less 1.
        standard_error: of that mean.
        draws: of the shared randomness.
        kept: whether the gain is 0 within the error.
    """

    gain: float
    standard_error: float
    draws: int
    kept: bool


def examine(subject: Subject, cap: float, seed: Seed) -> Claim | None:
    """Quantise one small prompt under many draws of the shared generator. None where nothing is claimed.

    A quantiser of least squared error shrinks, and its slope lies below 1 at any rotation; an unbiased one has slope
    1 on average. Keys stand in a cone and queries look along it, so that inner products have a size to be shrunk.

    Raises:
        CandidateFault: what the candidate did wrong.
    """
    if subject.candidate.constants.get("UNBIASED") is not True:
        return None
    draw = np.random.default_rng(seed.derive("claim").integer)
    keys = draw.standard_normal((2, 96, 64)).astype(np.float32) + draw.standard_normal((2, 1, 64)).astype(np.float32)
    values = draw.standard_normal((2, 96, 64)).astype(np.float32)
    queries = draw.standard_normal((2, 24, 64)) + keys.mean(axis=1, keepdims=True)
    prompt = Prompt("claim", 0, keys, values)
    params = parameters(subject.candidate)
    true = queries @ keys.swapaxes(1, 2).astype(np.float64)
    gains = []
    with subject.fresh() as writer, subject.fresh() as reader:
        for number in range(DRAWS):
            terms = Terms(cap, params, seed.derive("claim", number))
            found, _ = decode(reader, prompt, encode(writer, prompt, terms), terms)
            off = queries @ found.swapaxes(1, 2).astype(np.float64) - true
            gains.append((off * true).sum() / (true**2).sum())
    gain, spread = float(np.mean(gains)), float(np.std(gains, ddof=1) / np.sqrt(DRAWS))
    gain, spread = (float(np.clip(np.nan_to_num(figure, nan=1e6), -1e6, 1e6)) for figure in (gain, spread))
    return Claim(gain=gain, standard_error=spread, draws=DRAWS, kept=abs(gain) <= ERRORS * spread + ROUNDING)
