"""What a proposer may be told when it is opened."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from vevolve.evolve.prices import Price
from vevolve.types import Value


class ProposerSettings(Value):
    """Settings of all proposers; each reads those that concern it. Keys are no settings: they stay in variables."""

    base_url: str | None = None
    """Where a compatible server listens; None: `OPENAI_BASE_URL` or `ANTHROPIC_BASE_URL`, else the provider's own."""
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

    @classmethod
    def of(cls, value: Value) -> Self:
        """Those fields of another value that have a setting's name, with its prices as pairs or as they are."""
        if isinstance(value, cls):
            return value
        return cls.model_validate({name: getattr(value, name) for name in cls.model_fields if hasattr(value, name)})
