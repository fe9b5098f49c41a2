"""What an attempt at a certificate asks for, and how many documents that takes at least."""

from __future__ import annotations

import math
from typing import Literal

from vevolve.archive.events import Statement
from vevolve.errors import BadInput, UnknownName
from vevolve.evaluators.confidence import betting, fixed
from vevolve.types import Value

Method = Literal["betting", "clopper-pearson"]
METHODS: tuple[Method, ...] = ("betting", "clopper-pearson")
DOCUMENTS = 60
"""Planned by default, or as many as a method without any failure needs."""


class Plan(Value):
    """What is to be certified, and how.

    Attributes:
        epsilon: the relative error of an attention output that counts as a violation, where above.
        delta: the mean share of violations that each KV head may have.
        delta_token: the mean share of steps whose greedy token may differ; None for delta.
        alpha: the chance of ever issuing a false certificate for a candidate, over all attempts in one log.
        method: how it is tested.
        documents: how many are planned; None for `usual`, or as many as a method without any failure needs.
        usual: how many are planned where nobody says.
    """

    epsilon: float
    delta: float
    delta_token: float | None = None
    alpha: float = 0.05
    method: str = "betting"
    documents: int | None = None
    usual: int = DOCUMENTS

    def statement(self, attempt: int) -> Statement:
        """What attempt number `attempt` tests. All of alpha is spent by no number of attempts: the shares sum to 1.

        Raises:
            BadInput: a share outside (0, 1), or too few documents ever to pass.
            UnknownName: no such method.
        """
        token = self.delta if self.delta_token is None else self.delta_token
        shares = {"--epsilon": self.epsilon, "--delta": self.delta, "--delta-token": token, "--alpha": self.alpha}
        for name, value in shares.items():
            if not 0 < value < 1:
                raise BadInput(f"{name} must lie between 0 and 1, both excluded; found {value:g}.")
        if self.method not in METHODS:
            raise UnknownName("method", self.method, METHODS)
        level = 6 * self.alpha / (math.pi**2 * attempt**2)
        least = clean_documents(self.method, min(self.delta, token), level)
        documents = max(self.usual, least) if self.documents is None else self.documents
        if documents < least:
            which = "delta" if self.delta <= token else "delta-token"
            raise BadInput(
                f"{documents} documents cannot certify {which} {min(self.delta, token):g} at confidence "
                f"{1 - self.alpha:g}, even without a failure: attempt {attempt} at this candidate spends "
                f"{level:.4g} and needs at least {least} documents with --method {self.method}."
            )
        return Statement(
            epsilon=self.epsilon,
            delta=self.delta,
            delta_token=token,
            alpha=self.alpha,
            attempt=attempt,
            level=level,
            method=self.method,
            documents=documents,
        )


def clean_documents(method: str, rate: float, level: float) -> int:
    """How many documents without any failure certify a rate."""
    if method == "betting":
        return betting.clean_draws_needed(rate, level)
    return fixed.clean_draws_needed(rate, level)
