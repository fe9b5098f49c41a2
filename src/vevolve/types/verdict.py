"""What an examination found: objectives, points, bounds, costs, containment, and the verdict that holds them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vevolve.types.values import Level, Split, Status, Value


class Objective(Value):
    """One axis on which candidates are ranked.

    Attributes:
        name: the key of a point that holds it.
        direction: whether less or more is better.
        worst: the reference point of the hypervolume on this axis, fixed before a run.
        best: where the axis ends on the good side; a point beyond it counts as on it. None: open.
        unit: what is measured, such as "share of dense KV bytes".
        scale: how the hypervolume and the plots see the axis.
    """

    name: str
    direction: Literal["min", "max"]
    worst: float
    best: float | None = None
    unit: str = ""
    scale: Literal["linear", "log10"] = "linear"

    def __init__(self, name: str, direction: Literal["min", "max"], **rest: Any) -> None:
        super().__init__(**{"name": name, "direction": direction, **rest})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        ends = [self.worst] if self.best is None else [self.worst, self.best]
        if not all(math.isfinite(end) for end in ends) or (self.scale == "log10" and min(ends) <= 0):
            raise ValueError(f"objective {self.name}: ends must be finite, and above 0 on a log10 scale")
        return self

    def loss(self, value: float) -> float:
        """`value` as a number to minimise, on the axis's scale and inside its ends."""
        low, high = sorted((self.worst, self.worst if self.best is None else self.best))
        if self.best is None:
            low, high = (-math.inf, self.worst) if self.direction == "min" else (self.worst, math.inf)
        value = min(max(value, low), high)
        if self.scale == "log10":
            value = math.log10(max(value, 1e-300))
        return value if self.direction == "min" else -value


class Point(BaseModel):
    """An operating point: one setting of a candidate's budget, with a value for every objective.

    Values are given by name, `Point(label="64 tokens", traffic=.09, error=.4)`, and stand flat in JSON.

    Attributes:
        label: names the setting; the same label is the same question on every split.
        split: the split it was measured on.
        family: "" for the workload that fronts are drawn from; otherwise the name of a family of workloads on which
            a promoted candidate must gain as well.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, float | int | str | None]  # pyright: ignore[reportIncompatibleVariableOverride]

    label: str = ""
    split: Split = "search"
    family: str = ""

    if TYPE_CHECKING:

        def __init__(
            self, *, label: str = "", split: Split = "search", family: str = "", **values: float | int | str | None
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: dict[str, Any]) -> dict[str, Any]:
        plain = {key: value.item() if hasattr(value, "item") else value for key, value in data.items()}
        for key, value in plain.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{key} of a point must be finite, got {value}")
        return plain

    def __getitem__(self, name: str) -> float:
        """The value of an objective or figure. Raises KeyError where the point has none."""
        value = (self.__pydantic_extra__ or {})[name]
        if not isinstance(value, int | float):
            raise KeyError(name)
        return float(value)


class Bound(Value):
    """How often an error bound was broken at one (epsilon, delta) point, with its upper confidence limit.

    Attributes:
        epsilon: the relative error that was promised.
        delta: the share of steps on which it may be exceeded.
        split: where it was measured.
        rate: the share of (step, head) units over epsilon.
        documents: independent documents behind the rate.
        upper: upper confidence limit of the rate, by document.
        confidence: of that limit.
    """

    epsilon: float
    delta: float
    split: Split
    rate: float
    documents: int
    upper: float
    confidence: float = 0.95


class Cost(Value):
    """What an examination spent."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    processes: int = 0
    """Sandboxed processes that were started."""


class Containment(Value):
    """Which sandbox layers held while a candidate ran."""

    level: Level = "L0"
    layers: dict[str, str] = Field(default_factory=dict[str, str])
    """Layer -> "active", or why it was absent."""


class Verdict(Value):
    """What an examination found. An invalid verdict is a result like any other: a row with feedback."""

    valid: bool
    status: Status = "ok"
    stage: str = ""
    """The last stage that was reached."""
    points: tuple[Point, ...] = ()
    bounds: tuple[Bound, ...] = ()
    feedback: str = ""
    """Text that a model can use; it holds `search` numbers only."""
    report: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Problem-specific JSON: a breakdown by layer, head and document."""
    cost: Cost = Cost()
    containment: Containment | None = None
    problem: str = ""
    """The hash of problem, workload and objectives."""
