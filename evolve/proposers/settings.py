"""What a proposer may be told when it is opened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

from pydantic import Field

from vevolve.errors import BadInput, UnknownName
from vevolve.evolve.prices import Price
from vevolve.types import Value

HOSTED = ("anthropic", "openai")
"""Kinds of proposer that send a key to a server."""
_NAMED = re.compile(r"([A-Za-z]\w*)=(.*)", re.DOTALL)


class ProposerSettings(Value):
    """Settings of all proposers; each reads those that concern it. Keys are no settings: they stay in variables."""

    base_url: str | None = None
    """Where a compatible server listens, as `URL` or `PROVIDER=URL`; whom it does not name is asked where
    `OPENAI_BASE_URL` or `ANTHROPIC_BASE_URL` says, else at the provider's own."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds that a server may stay silent."""
    retries: int = Field(default=5, ge=0)
    """How often a call is repeated after a 429, a 5xx, a timeout or a lost connection."""
    retry_wait: float = Field(default=0.5, ge=0)
    """Seconds before the first repetition; doubled with each, up to 16 times. `Retry-After` goes first."""
    temperature: float | None = Field(default=None, ge=0)
    """None: not sent. Many models refuse any value of their own."""
    max_output_tokens: int = Field(default=16_384, ge=1)
    """The most tokens that a model may answer with, hidden reasoning included."""
    prices: dict[str, Price] = Field(default_factory=dict[str, Price])
    """The user's prices by model; `*` for every model."""
    lease: float = Field(default=3600.0, gt=0)
    """Seconds after which a request of a mailbox that somebody claimed and left is open again."""
    poll: float = Field(default=0.5, gt=0)
    """Seconds between two looks into a mailbox."""
    settle: float = Field(default=2.0, ge=0)
    """Seconds for which an answer in a mailbox must not change before it is taken."""

    def server(self, provider: str) -> str | None:
        """The base URL that is meant for a provider, if any: no other may see its key."""
        named = _NAMED.fullmatch(self.base_url or "")
        if named is None:
            return self.base_url
        return named[2] if named[1] == provider else None

    @classmethod
    def of(cls, value: Value) -> Self:
        """Those fields of another value that have a setting's name, with its prices as pairs or as they are."""
        if isinstance(value, cls):
            return value
        return cls.model_validate({name: getattr(value, name) for name in cls.model_fields if hasattr(value, name)})


def addressed(base_url: str | None, models: Iterable[str]) -> str | None:
    """A base URL with the provider that it is meant for, `PROVIDER=URL`, so that it never gets another one's key.

    Args:
        base_url: a URL, for the only hosted provider among `models`, or `PROVIDER=URL`.
        models: specifications of proposers.

    Raises:
        UnknownName: no such provider.
        BadInput: a URL without a provider, where two would send their keys to it.
    """
    named = _NAMED.fullmatch(base_url or "")
    if named is not None and named[1] not in HOSTED:
        raise UnknownName("provider of models for --base-url", named[1], HOSTED)
    if base_url is None or named is not None:
        return base_url
    asked = [kind for kind in HOSTED if any(model.strip().partition(":")[0] == kind for model in models)]
    if len(asked) > 1:
        raise BadInput(
            f"One --base-url would get the keys of {' and '.join(asked)}. Name whose server it is, as in "
            "--base-url openai=URL, or set OPENAI_BASE_URL and ANTHROPIC_BASE_URL instead."
        )
    return f"{asked[0]}={base_url}" if asked else None
