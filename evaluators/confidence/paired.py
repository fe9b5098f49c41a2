"""Two candidates on the same fresh documents: is the challenger better, beyond the luck of the documents?

The unit is a document. Its difference is one number, whatever heads, layers and steps go into it; both candidates meet
the same documents, so what makes a document hard is subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.confidence import betting


@dataclass(frozen=True)
class Comparison:
    """What differences by document say of the mean of the cut gains.

    Attributes:
        documents: how many there are.
        mean: of the cut gains of the challenger, positive where it is better.
        lower: lower confidence limit of the mean, valid at every number of documents.
        upper: the upper one.
        evidence: e-value against "the mean of the cut gains is at most 0".
    """

    documents: int
    mean: float
    lower: float
    upper: float
    evidence: float


def evidence(gains: Sequence[float], largest: float) -> float:
    """E-value against "the mean of the cut gains is at most 0". Arguments and errors as of `compare`."""
    return float(np.exp(np.minimum(betting.log_capital(_draws(gains, largest), 0.5)[-1, 0], 700.0)))


def compare(gains: Sequence[float], largest: float, alpha: float = 0.05) -> Comparison:
    """Judge the gains of a challenger over an incumbent, one a document.

    Args:
        gains: what each document gives; larger is better.
        largest: bounds a gain on either side and must be fixed before the documents are seen. What lies beyond is
            cut, so the limits are those of the mean of the cut gains. Cutting losses raises that mean: a challenger
            that loses more than this on a few documents may gain in the cut mean and lose in the other.
        alpha: of the limits, each.

    Raises:
        ValueError: no gains, or a bound that is not above 0.
    """
    draws = _draws(gains, largest)
    return Comparison(
        documents=len(draws),
        mean=largest * (1 - 2 * float(draws.mean())),
        lower=largest * (1 - 2 * float(betting.upper_limit(draws, alpha)[0])),
        upper=largest * (1 - 2 * float(betting.lower_limit(draws, alpha)[0])),
        evidence=evidence(gains, largest),
    )


def _draws(gains: Sequence[float], largest: float) -> NDArray[np.float64]:
    """Gains as draws in [0, 1], a column: 0 is .5, and "no gain in the mean" is a mean of .5 or more."""
    if not len(gains) or largest <= 0:
        raise ValueError(f"expected at least one gain and a bound above 0, got {len(gains)} and {largest}")
    cut = np.clip(np.asarray(gains, dtype=np.float64), -largest, largest)
    return np.asarray((1 - cut / largest) / 2)[:, None]
