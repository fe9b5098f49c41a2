"""`anthropic:NAME`: the Messages API through the official client, at Anthropic or any compatible server."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from vevolve.errors import BadInput
from vevolve.evolve.prices import Usage
from vevolve.evolve.proposers.contract import Prompt
from vevolve.evolve.proposers.hosted import CHECK_S, Answer, Hosted, checked_key, checked_url, read_body
from vevolve.evolve.proposers.settings import ProposerSettings

VARIABLE = "ANTHROPIC_API_KEY"
TOKEN = "ANTHROPIC_AUTH_TOKEN"
"""Holds a bearer token, as gateways take it, which the official client reads too. A key goes first."""
OWN_SERVER = "https://api.anthropic.com"


class _Block(BaseModel):
    type: str
    text: str = ""


class _Usage(BaseModel):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Reply(BaseModel):
    """The part of a message that is read."""

    model: str = ""
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None


_UNUSABLE = {
    "max_tokens": "was cut off at the limit of output tokens; raise it with --max-output-tokens",
    "model_context_window_exceeded": "was cut off where the model's context ended",
    "refusal": "is a refusal",
}


class Messages:
    """The API of Anthropic."""

    base_variable, own_server = "ANTHROPIC_BASE_URL", OWN_SERVER

    def __init__(self, sdk: ModuleType, key: str, variable: str, url: str, settings: ProposerSettings) -> None:
        self.sdk, self.key, self.variable, self.url = sdk, key, variable, url
        self._settings = settings
        # The client would fill in from the environment what it is not given, so one of the two is taken away again.
        given = {"auth_token" if variable == TOKEN else "api_key": key}
        self._client: Any = sdk.Anthropic(**given, base_url=url, timeout=settings.timeout, max_retries=0)
        if variable != TOKEN:
            self._client.auth_token = None

    def ask(self, model: str, prompt: Prompt) -> Answer:
        """One call. Thinking is billed as output and left out of the text."""
        # The client no longer names the temperature, and older models and compatible servers still take it.
        sampling = {} if self._settings.temperature is None else {"temperature": self._settings.temperature}
        response = self._client.messages.with_raw_response.create(
            model=model,
            system=prompt.system,
            messages=[{"role": "user", "content": prompt.user}],
            max_tokens=self._settings.max_output_tokens,
            # Given by call as well: the client refuses long answers without streaming where it sees no timeout.
            timeout=self._settings.timeout,
            extra_body=sampling,
        )
        reply = read_body(_Reply, response.http_response.content)
        text = "".join(block.text for block in reply.content if block.type == "text")
        usage = None if reply.usage is None else _counted(reply.usage)
        return Answer(text, reply.model, usage, _UNUSABLE.get(reply.stop_reason or "", ""))

    def look_up(self, model: str) -> None:
        """Ask for the model's entry, which costs nothing."""
        self._client.models.retrieve(model, timeout=CHECK_S)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _counted(usage: _Usage) -> Usage:
    """Anthropic counts cached tokens beside the input, not in it."""
    cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return Usage(
        input_tokens=usage.input_tokens + cached + written,
        output_tokens=usage.output_tokens,
        cached_tokens=cached,
        written_tokens=written,
    )


def open(argument: str, settings: ProposerSettings) -> Hosted:
    """The model named `argument`.

    Raises:
        BadInput: no name, or a base URL that is none.
        ProposerError: no key is set.
    """
    import anthropic

    if not argument:
        raise BadInput("A model of Anthropic is named anthropic:NAME; found no name.")
    url = settings.server("anthropic") or os.environ.get("ANTHROPIC_BASE_URL") or OWN_SERVER
    given = next((name for name in (VARIABLE, TOKEN) if os.environ.get(name, "").strip()), VARIABLE)
    key = checked_key(os.environ.get(given, ""), given)
    wire = Messages(anthropic, key, given, checked_url(url.rstrip("/"), "ANTHROPIC_BASE_URL"), settings)
    return Hosted(f"anthropic:{argument}", argument, wire, settings)
