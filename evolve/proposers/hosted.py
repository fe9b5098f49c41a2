"""A model behind an HTTP API: retries with back-off, cost, and errors that a user can act on and that hold no key.

Both providers' clients raise errors of the same shape, so one reading of them serves both. The clients' own retries
are switched off: one obeys a `Retry-After` of any length, and neither can be woken from its wait when a run stops.
"""

from __future__ import annotations

import email.utils
import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from vevolve.errors import BadInput, ProposerError, UnusableModel
from vevolve.evolve.prices import Usage, price
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed, Reply, Request
from vevolve.evolve.proposers.settings import ProposerSettings
from vevolve.types import Seed

_Body = TypeVar("_Body", bound=BaseModel)

CHECK_S = 5.0
"""Seconds that a server may take to say whether it knows the key."""
_UNKNOWN_MODEL = re.compile(
    r"model_not_found|invalid_model|unknown_model|\bmodel\b.{0,80}(not found|does not exist)|not a valid model"
    r"|\b(unknown|no such|invalid) model\b",
    re.IGNORECASE,
)
_UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError"}
"""What the clients' HTTP library calls a fault before the question had left."""
_GATEWAY_TIMEOUTS = (504, 524)
"""Whoever stands between gave up waiting, and the model may have answered all the same."""
LONGEST_WAIT = 120.0
"""Seconds; a server that asks for a longer pause is taken at its word that this call failed."""


@dataclass(frozen=True)
class Answer:
    """What a provider sent back.

    Attributes:
        text: the model's words.
        model: the model, as the provider names it.
        usage: None where the server counts nothing.
        unusable: why the text is no answer, such as "was cut off"; empty where it is one.
    """

    text: str
    model: str
    usage: Usage | None
    unusable: str = ""


class Wire(Protocol):
    """One provider's API."""

    sdk: ModuleType
    """The provider's client package."""
    key: str
    variable: str
    """The environment variable that holds the key."""
    base_variable: str
    """The environment variable that names another server."""
    url: str
    own_server: str
    """The provider's own URL."""

    def ask(self, model: str, prompt: Prompt) -> Answer:
        """One call without retries. Raises the client package's errors, or ValueError on an unreadable answer."""
        ...

    def look_up(self, model: str) -> None:
        """Ask, at no cost, whether there is such a model. Raises the client package's errors."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True)
class _Fault:
    """What went wrong with a call: for good, to be tried again after `wait` seconds (None: back off), or neither.

    `unreachable`: nothing listens at the address. `billable`: an answer came that cannot be read, or the question was
    sent and no answer came back: a provider may bill either.
    """

    message: str
    permanent: bool = False
    again: bool = False
    wait: float | None = None
    unreachable: bool = False
    billable: bool = False


class Hosted:
    """A proposer that asks a model over HTTP. Safe to use from several threads."""

    def __init__(self, name: str, model: str, wire: Wire, settings: ProposerSettings) -> None:
        self.name = name
        self._model, self._wire, self._settings = model, wire, settings
        self._price = price(model, settings.prices)
        self._closed = threading.Event()
        self._reached = False
        self.place = f"{name} at {shown(wire.url)}"
        """As a user is told whose answers are waited for."""

    def __repr__(self) -> str:
        return f"Hosted({self.name!r})"

    def propose(self, request: Request) -> Reply:
        """Ask the model, again after a fault that may pass.

        Raises:
            ProposerError: wrong key, unknown model, no credit, or a server that was never reached.
            ProposalFailed: retries used up, an unreadable or unusable answer, no money for another try, or the
                proposer was closed.
        """
        lost = 0
        for attempt in range(self._settings.retries + 1):
            if self._closed.is_set():
                break
            answer, fault = self._try(request.prompt)
            if answer is not None:
                return self._reply(request.prompt, answer, lost)
            lost += fault.billable
            if fault.permanent and not lost:
                raise ProposerError(fault.message)
            if not fault.again or (fault.wait or 0.0) > LONGEST_WAIT:
                raise ProposalFailed(fault.message, self._maybe_billed(request.prompt, lost))
            if attempt == self._settings.retries:
                raise self._given_up(fault, attempt, self._maybe_billed(request.prompt, lost))
            if fault.billable and not request.afford():
                short = f"{fault.message} It may be billed all the same, and too little is left of --usd to ask again."
                raise ProposalFailed(short, self._maybe_billed(request.prompt, lost))
            if self._closed.wait(self._pause(fault, attempt, request.seed)):
                break
        raise ProposalFailed(f"{self.name} was closed before an answer came.", self._maybe_billed(request.prompt, lost))

    def check(self) -> None:
        """Refuse a wrong key or an unknown model before anything is paid for or examined.

        Only what the server says for certain counts: a compatible one may keep no list of its models, a key may be
        good for answers alone, and one that does not reply in time may yet answer.

        Raises:
            ProposerError: the key is refused, or the provider has no such model.
        """
        sdk: Any = self._wire.sdk
        fault = None
        try:
            self._wire.look_up(self._model)
        except sdk.APIStatusError as error:
            text = _said(error)
            limited = re.search(r"scope|permission", text)
            if (error.status_code == 401 and not limited) or (
                error.status_code == 404 and self._wire.url == self._wire.own_server
            ):
                fault = self._refused(error.status_code, text, error.response.headers)
        except (sdk.APIError, ValueError):
            pass
        if fault is not None:
            raise ProposerError(fault.message)

    def estimate(self, prompt: Prompt) -> float | None:
        """Dollars for the prompt, at three bytes a token, and the longest answer allowed; None without a price."""
        return None if self._price is None else self._price.cost(self._guess(prompt, self._settings.max_output_tokens))

    def close(self) -> None:
        """End waits and connections."""
        self._closed.set()
        self._wire.close()

    def _try(self, prompt: Prompt) -> tuple[Answer | None, _Fault]:
        """One call. A fault is a value, so that no error of the client, which holds the key, is chained to ours."""
        sdk: Any = self._wire.sdk
        try:
            answer = self._wire.ask(self._model, prompt)
        except sdk.APIStatusError as error:
            self._reached = True
            return None, self._refused(error.status_code, _said(error), error.response.headers)
        except sdk.APITimeoutError as error:
            message = f"{self.name} did not answer within {self._settings.timeout:g} s."
            return None, _Fault(message, again=True, billable=type(error.__cause__).__name__ not in _UNSENT)
        except sdk.APIConnectionError as error:
            why, kind = self._clean(f"{error.__cause__ or error}"), type(error.__cause__).__name__
            if kind == "DecodingError":
                return None, _Fault(f"{self.name} sent an answer that cannot be read: {why}.", billable=True)
            message = f"{self.name}: no connection to {shown(self._wire.url)}: {why}."
            unreachable, billable = kind == "ConnectError", kind not in _UNSENT
            return None, _Fault(message, again=True, unreachable=unreachable, billable=billable)
        except (sdk.APIError, ValueError) as error:
            why = self._clean(str(error))
            return None, _Fault(f"{self.name} sent an answer that cannot be read: {why}.", billable=True)
        self._reached = True
        return answer, _Fault("")

    def _refused(self, status: int, text: str, headers: Mapping[str, str]) -> _Fault:
        why, variable = self._clean(text), self._wire.variable
        if status == 401:
            return _Fault(f"{self.name}: the key was refused (401). Set {variable} to a valid key.", permanent=True)
        if status == 403:
            message = f"{self.name}: the key may not use this model (403): {why}. Set {variable} to one that may."
            return _Fault(message, permanent=True)
        if status == 404 or (status in (400, 422) and _UNKNOWN_MODEL.search(text)):
            message = (
                f"{self.name}: no model '{self._model}' at {shown(self._wire.url)} ({status}). Check the name given to "
                f"--model; {self._wire.base_variable} or --base-url names another server."
            )
            return _Fault(message, permanent=True)
        if status == 402 or re.search(r"insufficient_quota|credit balance|billing_error", text):
            message = (
                f"{self.name}: the account of this key has no credit ({status}): {why}. Set {variable} to another."
            )
            return _Fault(message, permanent=True)
        if self._settings.temperature is not None and status in (400, 422) and "temperature" in text:
            return _Fault(f"{self.name} refuses the temperature: {why}. Leave it out.", permanent=True)
        again = (status in (408, 409, 429) or status >= 500) and headers.get("x-should-retry") != "false"
        message, billable = f"{self.name} answered {status}: {why}.", status in _GATEWAY_TIMEOUTS
        return _Fault(message, again=again, wait=retry_after(headers), billable=billable)

    def _given_up(self, fault: _Fault, retries: int, billed: Reply | None) -> Exception:
        if fault.unreachable and not self._reached and billed is None:
            return ProposerError(f"{fault.message} Check the network, and {self._wire.base_variable} or --base-url.")
        return ProposalFailed(
            f"{fault.message} Given up after {retries} {'retry' if retries == 1 else 'retries'}.", billed
        )

    def _pause(self, fault: _Fault, attempt: int, seed: Seed) -> float:
        if fault.wait is not None:
            return fault.wait
        spread = seed.derive("retry", attempt).integer / 2**63
        return self._settings.retry_wait * min(1 << attempt, 16) * (1 - 0.25 * spread)

    def _reply(self, prompt: Prompt, answer: Answer, lost: int) -> Reply:
        """The answer with its cost, and that of the calls before it that may have been billed."""
        text = self._keyless(answer.text)
        usage = answer.usage or self._guess(prompt, len(text.encode()) // 3 + 1)
        reply = Reply(
            text=text,
            model=self._clean(answer.model) or self._model,
            input_tokens=usage.input_tokens if answer.usage else 0,
            output_tokens=usage.output_tokens if answer.usage else 0,
            usd=None if self._price is None else self._price.cost(usage) + lost * (self.estimate(prompt) or 0.0),
        )
        if answer.unusable or not text.strip():
            why = self._clean(answer.unusable) or "is empty"
            raise ProposalFailed(f"The answer of {self.name} {why}.", billed=reply)
        return reply

    def _maybe_billed(self, prompt: Prompt, lost: int) -> Reply | None:
        """An answer that nobody got to read may have been billed: each counts for as much as one can cost."""
        each = self.estimate(prompt)
        return Reply(text="", model=self._model, usd=None if each is None else lost * each) if lost else None

    def _guess(self, prompt: Prompt, output_tokens: int) -> Usage:
        sent = len((prompt.system + prompt.user).encode("utf-8", "replace"))
        return Usage(input_tokens=sent // 3 + 1, output_tokens=output_tokens)

    def _clean(self, text: str) -> str:
        """One short line without the key, or anything that looks like one."""
        text = " ".join(self._keyless(text, shortest=1).split()).rstrip(".")
        text = re.sub(r"\b(sk|pk|rk|gsk|xai|key)[-_][\w*-]{6,}", "***", text)
        return text if len(text) <= 300 else text[:300] + " ..."

    def _keyless(self, text: str, shortest: int = 8) -> str:
        """Without the key. A shorter one is a placeholder for a local server, and may be any word of a program."""
        return text.replace(self._wire.key, "***") if len(self._wire.key) >= shortest else text


def _said(error: Any) -> str:
    """What the server said in the body of a refusal, and its code; else all that the client made of it."""
    body = error.body
    inner: Any = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict) and isinstance(inner.get("message"), str):
        return " ".join(str(inner[key]) for key in ("message", "code", "type") if inner.get(key))
    return str(error)


def read_body(kind: type[_Body], content: bytes) -> _Body:
    """The body of a response as `kind`. Raises ValueError, which holds the whole body, where it is of another form.

    The clients' own models accept any body. Pydantic's message would quote the body with its middle left out, and
    half a key escapes whoever looks for a whole one.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = content.decode("utf-8", "replace")
    raise ValueError(f"{place or 'body'}: {first['msg']}: {said or 'it is empty'}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, or `retry-after` as a number or a date (RFC 9110)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())


def checked_url(url: str, variable: str) -> str:
    """`url` if it is one. Raises `BadInput` otherwise."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits:
        raise BadInput(f"A base URL is http(s)://HOST[:PORT][/PATH]; found '{shown(url)}' ({variable} or --base-url).")
    return url


def checked_key(key: str, variable: str) -> str:
    """`key` without blanks around it. Raises `UnusableModel`, which does not repeat it, for one that is none."""
    key = key.strip()
    if not key:
        raise UnusableModel(f"No API key: set {variable} to your key, or use --model offline, which needs none.")
    if not re.fullmatch(r"[!-~]+", key):
        raise UnusableModel(f"{variable} holds characters that are in no API key: set it anew.")
    return key


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password, query."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0].partition("#")[0])
