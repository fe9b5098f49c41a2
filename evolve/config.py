"""What a run is asked to do, from flags, the environment, a TOML file and defaults, in that order."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from vevolve.errors import BadInput, UnknownName
from vevolve.evolve.prices import Price
from vevolve.evolve.proposers.settings import addressed
from vevolve.types import Value

PREFIX = "VEVOLVE_"
KEPT = ("seed", "problem", "directory", "latency")
"""Settings that a run keeps for good."""
FILE = "vevolve.toml"
"""Read from the working directory where no other file is named."""


def _listed(value: Any) -> Any:
    """A comma list in the environment, or one string, where a list is meant."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


class Config(Value):
    """One run's settings. Every field may stand in TOML, in the environment as `VEVOLVE_FIELD`, or be a flag."""

    seed: str = "sparse_decode/vattention"
    """A shipped seed, `problem/method`; or the file of a program, with `problem`."""
    problem: str | None = None
    """The problem's name or folder; None: the first part of `seed`."""
    models: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ("offline",)
    """Proposers, such as `offline` or `openai:NAME`; `SPEC=WEIGHT` sets how often one is drawn beside others."""
    evaluations: int = Field(default=100, ge=1)
    """Examinations on the `search` split in all, those of earlier sessions included; the seed's own is not counted."""
    usd: float | None = Field(default=None, ge=0)
    """Dollars in all, calls in flight included; one without an answer counts with the most it can cost, since it may be
    billed. None: no limit."""
    seconds: float | None = Field(default=None, gt=0)
    """Seconds of running in all, pauses between sessions excluded. What is in flight then is finished, but questions in
    a mailbox stay open for a resume. None: no limit."""
    workers: int | Literal["inline"] | None = None
    """Ray actors that examine candidates; `inline`: this process does. None: one for each core."""
    ray_address: str | None = None
    """A running Ray cluster to join: `auto`, `HOST:PORT` or `ray://HOST:PORT`. None: one is started on the loopback."""
    lag: int = Field(default=8, ge=1, le=4096)
    """Iterations in flight. Iteration i sees what was known when iteration i - lag ended, whatever the timing."""
    confirm: int = Field(default=48, ge=0)
    """The most fresh documents on which a promoted program meets its incumbent, where the problem can draw any."""
    latency: bool | None = None
    """Time what is promoted on this machine's GPU. None: where there is one when the run begins."""
    style: Literal["diff", "rewrite"] = "diff"
    """What a model is asked for: SEARCH/REPLACE blocks, or the whole program."""
    base_url: str | None = None
    """Where an OpenAI- or Anthropic-compatible server listens: `URL` for the only hosted provider among the models,
    or `PROVIDER=URL`; None: the provider's own, or what `OPENAI_BASE_URL` or `ANTHROPIC_BASE_URL` says."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds that one model call may take."""
    retries: int = Field(default=5, ge=0)
    """How often a model call is repeated after a 429, a 5xx or, while `usd` allows for another, a timeout."""
    max_output_tokens: int = Field(default=16_384, ge=1)
    """The most tokens that a model may answer with."""
    temperature: float | None = Field(default=None, ge=0)
    """Of model calls; None: not sent, since many models refuse any value of their own."""
    prices: Annotated[dict[str, Price], BeforeValidator(_decoded)] = Field(default_factory=dict[str, Price])
    """Model, or `*` for all -> dollars per million tokens, such as `[2.5, 10]` for input and output."""
    allow_degraded: bool = False
    """Go on below the minimum level of containment."""
    directory: str | None = None
    """Where the run is kept; None: a new directory under `runs/`."""

    @field_validator("base_url")
    @classmethod
    def _addressed(cls, value: str | None, info: ValidationInfo) -> str | None:
        return addressed(value, info.data.get("models", ()))

    @field_validator("workers", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if not isinstance(value, str) or value == "inline":
            return value
        if not value.removeprefix("-").isdecimal():
            raise ValueError("expected a number of at least 1, or inline")
        return int(value)

    @field_validator("workers")
    @classmethod
    def _some(cls, value: Any) -> Any:
        if isinstance(value, int) and value < 1:
            raise ValueError("expected a number of at least 1, or inline")
        return value

    @property
    def weighted_models(self) -> tuple[tuple[str, float], ...]:
        """Each proposer with its share of the draws. Raises `BadInput` for a weight that is none."""
        return tuple(_weighted(model) for model in self.models)

    @classmethod
    def load(
        cls,
        flags: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        file: Path | None = None,
        base: Mapping[str, Any] | None = None,
    ) -> Self:
        """The settings: flags over environment over TOML over defaults.

        A flag that is None was not given. Without `file`, `vevolve.toml` of the working directory is read if it is
        there. With `base`, the settings of an earlier session, these stand in place of defaults and `vevolve.toml`,
        and what a run keeps for good is left out of environment and file: that was said of new runs.

        Raises:
            UnknownName: a key that is no setting; the message offers the nearest.
            BadInput: a value of the wrong kind, or a file that is no TOML.
        """
        environment = os.environ if environment is None else environment
        named = {key: value for key, value in (flags or {}).items() if value is not None}
        exported = {
            key.removeprefix(PREFIX).lower(): value for key, value in environment.items() if key.startswith(PREFIX)
        }
        written = {} if base is not None and file is None else _from_file(file)
        layers = [
            _known(written, cls, f"setting in {file or FILE}"),
            _known(exported, cls, f"setting in the environment ({PREFIX}...)"),
            _known(named, cls, "setting"),
        ]
        if base is not None:
            changing = ({key: value for key, value in layer.items() if key not in KEPT} for layer in layers[:2])
            layers = [base, *changing, layers[2]]
        merged: dict[str, Any] = {}
        try:
            for layer in layers:
                merged |= _over(merged, layer)
            config = cls(**merged)
        except (ValidationError, ValueError) as error:
            raise BadInput(_first_problem(error)) from error
        if not config.models:
            raise BadInput("At least one model is needed, such as --model offline; found none.")
        _ = config.weighted_models
        return config


def to_toml(config: Config) -> str:
    """The settings as TOML, those that are not set left out."""
    fields = config.model_dump(mode="json", exclude_none=True)
    return "".join(f"{key} = {_toml(value)}\n" for key, value in fields.items())


def _toml(value: Any) -> str:
    """A value on one line. JSON's notation is TOML's, but for tables."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {_toml(inner)}' for key, inner in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)


def _weighted(model: str) -> tuple[str, float]:
    spec, separator, weight = model.rpartition("=")
    if not separator:
        return model, 1.0
    try:
        share = float(weight)
    except ValueError:
        return model, 1.0
    if not 0 < share < float("inf"):
        raise BadInput(f"The weight of model '{spec}' must be above 0 and finite; found {weight}.")
    return spec, share


def _known(layer: Mapping[str, Any], config: type[Config], kind: str) -> Mapping[str, Any]:
    for key in layer:
        if key not in config.model_fields:
            raise UnknownName(kind, key, config.model_fields)
    return layer


def _over(below: Mapping[str, Any], layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """A layer as it goes over those below: prices replace those of the same models alone."""
    try:
        prices, others = _decoded(layer.get("prices")), _decoded(below.get("prices"))
    except ValueError:
        return layer
    return {**layer, "prices": {**others, **prices}} if isinstance(prices, dict) and isinstance(others, dict) else layer


def _from_file(file: Path | None) -> Mapping[str, Any]:
    path = Path(FILE) if file is None else file
    if file is None and not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"Cannot read the settings in {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}.") from error


def _first_problem(error: ValidationError | ValueError) -> str:
    if not isinstance(error, ValidationError):
        return f"Bad settings: {error}."
    first = error.errors()[0]
    path: Iterable[object] = first["loc"]
    name = ".".join(str(part) for part in path)
    why = first["msg"].removeprefix("Value error, ")  # put before what our own validators say
    return f"Bad value for setting '{name.partition('.')[0]}': {why}; found {first.get('input')!r}."
