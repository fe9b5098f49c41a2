"""`openai:NAME`: Chat Completions through the official client, at OpenAI or any compatible server.

Chat Completions rather than Responses, because vLLM, Ollama, OpenRouter and the like all speak it.
"""

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

VARIABLE = "OPENAI_API_KEY"
OWN_SERVER = "https://api.openai.com/v1"


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Details(BaseModel):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Completion(BaseModel):
    """The part of a completion that is read."""

    model: str = ""
    choices: list[_Choice]
    usage: _Usage | None = None


class ChatCompletions:
    """The API of OpenAI, and of those that imitate it."""

    variable, base_variable, own_server = VARIABLE, "OPENAI_BASE_URL", OWN_SERVER

    def __init__(self, sdk: ModuleType, key: str, url: str, settings: ProposerSettings) -> None:
        self.sdk, self.key, self.url = sdk, key, url
        self._settings = settings
        self._client: Any = sdk.OpenAI(api_key=key, base_url=url, timeout=settings.timeout, max_retries=0)
        # OpenAI's newer models refuse the old name of the limit, and compatible servers know only that one.
        self._limit = "max_completion_tokens" if url == OWN_SERVER else "max_tokens"

    def ask(self, model: str, prompt: Prompt) -> Answer:
        """One call; where the server wants the limit's other name, once more with that, from now on."""
        limit = self._limit
        try:
            return self._ask(model, prompt, limit)
        except self.sdk.BadRequestError as error:
            other = "max_completion_tokens" if limit == "max_tokens" else "max_tokens"
            if limit not in str(error):
                raise
            self._limit = other
        return self._ask(model, prompt, other)

    def look_up(self, model: str) -> None:
        """Ask for the model's entry, which costs nothing."""
        self._client.models.retrieve(model, timeout=CHECK_S)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, model: str, prompt: Prompt, limit: str) -> Answer:
        sampling = {} if self._settings.temperature is None else {"temperature": self._settings.temperature}
        response = self._client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            **{limit: self._settings.max_output_tokens},
            **sampling,
        )
        completion = read_body(_Completion, response.http_response.content)
        usage = None if completion.usage is None else _counted(completion.usage)
        if not completion.choices:
            return Answer("", completion.model, usage, "holds no choice")
        choice = completion.choices[0]
        return Answer(choice.message.content or "", completion.model, usage, _unusable(choice))


def _counted(usage: _Usage) -> Usage:
    details = usage.prompt_tokens_details or _Details()
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_tokens=details.cached_tokens or 0,
        written_tokens=details.cache_write_tokens or 0,
    )


def _unusable(choice: _Choice) -> str:
    if choice.finish_reason == "length":
        return "was cut off at the limit of output tokens; raise it with --max-output-tokens"
    if choice.message.refusal:
        return f"is a refusal: {choice.message.refusal}"
    return "was stopped by a content filter" if choice.finish_reason == "content_filter" else ""


def open(argument: str, settings: ProposerSettings) -> Hosted:
    """The model named `argument`. A server of the user's own may need no key.

    Raises:
        BadInput: no name, or a base URL that is none.
        ProposerError: no key is set.
    """
    import openai

    if not argument:
        raise BadInput("A model of an OpenAI-compatible server is named openai:NAME; found no name.")
    url = settings.server("openai") or os.environ.get("OPENAI_BASE_URL") or OWN_SERVER
    url = checked_url(url.rstrip("/"), "OPENAI_BASE_URL")
    key = os.environ.get(VARIABLE, "").strip() or ("" if url == OWN_SERVER else "none")
    wire = ChatCompletions(openai, checked_key(key, VARIABLE), url, settings)
    return Hosted(f"openai:{argument}", argument, wire, settings)
