"""What a model call costs: a dated table that ships, the user's own prices over it, and the sum for a usage."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from vevolve.types import Value

_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


class Usage(Value):
    """Tokens of one call, as the provider counted them.

    Attributes:
        input_tokens: all that were sent, those from and to the prompt cache included.
        output_tokens: all that were written, those of hidden reasoning included.
        cached_tokens: of the input, those read from the provider's prompt cache.
        written_tokens: of the input, those written to it.
    """

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    written_tokens: int = Field(default=0, ge=0)


class Price(Value):
    """US dollars per million tokens. A pair `(input, output)` is read as one.

    Attributes:
        input: for tokens sent.
        output: for tokens written.
        cached_input: for input read from the provider's prompt cache; None: as `input`.
        cache_write: for input written to it; None: as `input`.
        as_of: the day the figures were taken.
        source: where from.
    """

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cached_input: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    cache_write: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    as_of: str = ""
    source: str = "given by the user"

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, data: Any) -> Any:
        if isinstance(data, tuple | list) and len(data) == 2:
            return {"input": data[0], "output": data[1]}
        return data

    def cost(self, usage: Usage) -> float:
        """Dollars for one call."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        written = min(usage.written_tokens, usage.input_tokens - cached)
        plain = usage.input_tokens - cached - written
        millionths = (
            plain * self.input
            + cached * (self.input if self.cached_input is None else self.cached_input)
            + written * (self.input if self.cache_write is None else self.cache_write)
            + usage.output_tokens * self.output
        )
        return millionths / 1e6


def price(model: str, overrides: Mapping[str, Price] | None = None) -> Price | None:
    """The price of a model, or None where none is known.

    The user's prices come first, by the model's name, then under `*` for every model. A dated name such as
    `gpt-4o-2024-08-06` has the price of the name without its date where it has none of its own; no other part of a
    name is ever left out, since a `mini` costs another price.
    """
    base = _DATED.sub("", model)
    for prices in (overrides or {}, table()):
        for name in (model, base, "*"):
            if name in prices:
                return prices[name]
    return None


@functools.cache
def table() -> dict[str, Price]:
    """The prices that ship, by model."""
    parsed = tomllib.loads(Path(__file__).with_name("prices.toml").read_text(encoding="utf-8"))
    return {
        model: Price(**figures, as_of=str(part["as_of"]), source=part["source"])
        for part in parsed["table"]
        for model, figures in part["models"].items()
    }
