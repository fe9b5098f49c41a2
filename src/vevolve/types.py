"""The nouns of vEvolve: values that cross every boundary, and the protocol of a subject.

Values are frozen and survive JSON. Protocols stand where implementations really vary. Nothing here imports torch,
ray or a model client, so that an archive opens on a laptop.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import hmac
import math
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from numpy.typing import NDArray

Split = Literal["search", "select", "sealed"]
"""`search`: the loop and the models see it. `select`: chooses what is promoted. `sealed`: drawn on certification."""

Status = Literal[
    "ok",  # a valid verdict
    "syntax",  # the program does not parse
    "interface",  # a function is missing, or names an argument that does not exist
    "crash",  # the candidate raised, or its process died
    "timeout",  # it did not answer in time
    "resource",  # it asked for more memory, processes or bytes than allowed
    "protocol",  # it broke the wire format: early, extra, short or unbound bytes
    "wrong",  # it answered, and the answer breaks the problem's rules
    "unstable",  # the same question got two different answers
    "duplicate",  # the same program was examined before
    "unapplied",  # the reply held no program that could be applied
]

Level = Literal["L0", "L1", "L2", "L3"]


class CandidateFault(Exception):
    """A candidate failed. Raised while a subject is examined; it becomes an invalid verdict, never a crash of ours.

    Attributes:
        status: what kind of failure it was.
        feedback: what a model is told about it (text from the candidate is quoted and cut).
    """

    def __init__(self, status: Status, feedback: str) -> None:
        super().__init__(f"{status}: {feedback}")
        self.status: Status = status
        self.feedback = feedback

    def __reduce__(self) -> tuple[type[CandidateFault], tuple[Status, str]]:
        return CandidateFault, (self.status, self.feedback)


class Value(BaseModel):
    """A frozen value that survives JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --------------------------------------------------------------------------------------------------- candidates


_PARSING = threading.RLock()


def parse_program(source: str) -> ast.Module:
    """`ast.parse`, one thread at a time.

    CPython 3.11 keeps the depth of the tree under construction in one place for all threads, and a switch in between
    raises SystemError (gh-106905), so every parser of programs in a process with threads goes through here.
    """
    with _PARSING:
        return ast.parse(source)


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_NO_MATTER = ("ctx", "kind", "type_comment", "type_ignores")
"""Fields that follow from the others, or that nothing runs."""
_FIELDS = {
    kind: tuple(name for name in kind._fields if name not in _NO_MATTER)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
_PASS = [ast.Pass()]


def canonical(tree: ast.AST) -> str:
    """A syntax tree as text: equal for two programs that differ in docstrings, comments and layout alone.

    Nodes stand before what they hold, and lists with their lengths, so that no two trees share a text. Three times as
    fast as `ast.dump`, and not recursive.
    """
    parts: list[str] = []
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        fields = _FIELDS.get(type(node))
        if fields is None:
            if isinstance(node, list):
                parts.append(f"[{len(node)}")
                pending.extend(node)
            else:
                parts.append(repr(node))
            continue
        parts.append(type(node).__name__)
        held = vars(node)
        for name in fields:
            value = held.get(name)
            if name == "body" and isinstance(node, _DOCUMENTED) and _is_text(value[:1]):
                value = value[1:] or _PASS
            pending.append(value)
    return "\0".join(parts)


def _is_text(body: list[ast.stmt]) -> bool:
    """Whether the statement in `body` is a docstring."""
    return any(
        isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
        for one in body
    )


@dataclass(frozen=True)
class Candidate:
    """A program and, maybe, its parameters.

    Attributes:
        source: the program's text, newlines as LF.
        params: the bytes of a safetensors file, at most 8 MiB, or None.
    """

    source: str
    params: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", self.source.replace("\r\n", "\n").replace("\r", "\n"))

    @functools.cached_property
    def id(self) -> str:
        """The sha256 of the text in UTF-8; with parameters, of the text, a zero byte and the sha256 of those."""
        text = self.source.encode("utf-8", "surrogatepass")
        if self.params is None:
            return hashlib.sha256(text).hexdigest()
        return hashlib.sha256(text + b"\0" + hashlib.sha256(self.params).digest()).hexdigest()

    @functools.cached_property
    def tree(self) -> ast.Module:
        """The syntax tree. Raises `CandidateFault("syntax")`, naming the line, when there is none."""
        try:
            return parse_program(self.source)
        except SyntaxError as error:
            line = (error.text or "").strip()
            raise CandidateFault("syntax", f"line {error.lineno}: {error.msg}: {line[:120]!r}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise CandidateFault("syntax", f"the program cannot be parsed: {error}") from error

    @functools.cached_property
    def tree_hash(self) -> str:
        """The hash of the syntax tree without docstrings, comments and layout. Only for finding duplicates."""
        text = canonical(self.tree).encode("utf-8", "surrogatepass")
        if self.params:
            text += hashlib.sha256(self.params).digest()
        return hashlib.sha256(text).hexdigest()

    @functools.cached_property
    def functions(self) -> dict[str, Signature]:
        """The top-level functions by name; where a name is defined twice, the last counts."""
        return {node.name: Signature.of(node.args) for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    @functools.cached_property
    def constants(self) -> dict[str, Any]:
        """The top-level assignments of a literal to one name, such as `PAGE = 16`."""
        found: dict[str, Any] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                try:
                    found[node.targets[0].id] = ast.literal_eval(node.value)
                except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                    continue
        return found


@dataclass(frozen=True)
class Signature:
    """What a candidate's function asks for.

    Attributes:
        names: every parameter that can be given by name.
        required: those without a default.
        open: it takes `**anything`.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    open: bool

    @classmethod
    def of(cls, args: ast.arguments) -> Signature:
        """Read a signature off a syntax tree."""
        plain = [arg.arg for arg in [*args.posonlyargs, *args.args]]
        bare = plain[: len(plain) - len(args.defaults)]
        keyword = [arg.arg for arg in args.kwonlyargs]
        needed = [arg.arg for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is None]
        return cls((*plain, *keyword), (*bare, *needed), args.kwarg is not None)


# ------------------------------------------------------------------------------------------------------ verdicts


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
    layers: dict[str, str] = {}
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
    report: dict[str, Any] = {}
    """Problem-specific JSON: a breakdown by layer, head and document."""
    cost: Cost = Cost()
    containment: Containment | None = None
    problem: str = ""
    """The hash of problem, workload and objectives."""


# ----------------------------------------------------------------------------------------------------- randomness


@dataclass(frozen=True)
class Seed:
    """A secret that yields others, one-way: randomness keyed by what it is for, so that timing never matters."""

    key: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> Seed:
        """128 secret bits from the operating system."""
        return cls(secrets.token_bytes(16))

    def derive(self, *purpose: str | int) -> Seed:
        """The seed of one purpose. The parent cannot be computed from it."""
        message = "\0".join(f"{type(word).__name__}:{word}" for word in purpose).encode()
        return Seed(hmac.new(self.key, message, hashlib.sha256).digest()[:16])

    @property
    def integer(self) -> int:
        """63 bits, as the generators of numpy, torch and Python take them."""
        return int.from_bytes(self.key[:8], "little") >> 1


# -------------------------------------------------------------------------------------------------------- subject


@dataclass(frozen=True)
class Array:
    """An answer: one array of exactly this dtype (numpy's short name, such as "f8") and shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Arrays:
    """An answer: arrays nested in tuples, lists and dicts, within these limits. Arrives as a `Frame`."""

    max_count: int = 64
    max_bytes: int = 64 << 20
    max_dims: int = 6


@dataclass(frozen=True)
class Json:
    """An answer: plain JSON of at most this many bytes."""

    max_bytes: int = 1 << 16


Returns: TypeAlias = Array | Arrays | Json


class Frame(dict[str, "NDArray[Any]"]):
    """The arrays of an answer by their path in it: `(ids, (a, b))` gives "0", "1.0", "1.1"; a dict gives its keys.

    `wire_bytes` is the size of the frame that carried them, headers included: what an index is charged for.
    """

    wire_bytes: int = 0


class Service:
    """A live object in the candidate's hands whose methods run on the trusted side.

    In the candidate, attributes are plain values and each method is a call that travels to the trusted side and
    returns an array. Arguments that arrive are short strings and integer arrays, as the candidate sent them: a
    method checks them and raises `CandidateFault` where they break the rules.
    """

    def __init__(
        self,
        attributes: Mapping[str, int | float | str] | None = None,
        **methods: Callable[..., NDArray[Any]],
    ) -> None:
        self.attributes = dict(attributes or {})
        self.methods = methods


@dataclass(frozen=True, eq=False)
class Resident:
    """An argument that a process is sent once, with the first call that takes it, and hands to every later one.

    For what is large and the same in all calls. A process that writes to it sees what it wrote, as with any global of
    its own; a fresh process gets it anew.
    """

    value: Any


@dataclass(frozen=True)
class Settings:
    """Named plain values, seen by the candidate as attributes: `Settings(dict(tokens=64))` is `budget.tokens`."""

    values: Mapping[str, int | float | str | None]


class Process(Protocol):
    """One isolated process that holds a candidate's program and nothing else. It forgets nothing between calls."""

    def call(
        self,
        function: str,
        /,
        *args: Any,
        returns: Returns,
        serve: Mapping[str, Service] | None = None,
        timeout: float | None = None,
        **named: Any,
    ) -> Any:
        """Call a top-level function of the candidate and return its answer, checked against `returns`.

        Positional arguments are passed as they are. Of `named` and `serve`, the function gets those that its
        signature names and no others. Arguments are scalars, strings, None, numpy arrays (the candidate sees torch
        tensors where the subject was made so), lists and dicts of these, `Settings`, and `Seed` (the candidate sees
        a generator of its array library).

        Raises:
            CandidateFault: it crashed, timed out, asked for too much, or broke the wire format.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Subject(Protocol):
    """A candidate under examination: the handle through which the trusted side calls it."""

    @property
    def candidate(self) -> Candidate:
        """The program."""
        ...

    def fresh(self) -> Process:
        """Open a new process, which knows nothing of any other. Use it as a context manager."""
        ...

    def call(
        self,
        function: str,
        /,
        *args: Any,
        returns: Returns,
        serve: Mapping[str, Service] | None = None,
        timeout: float | None = None,
        **named: Any,
    ) -> Any:
        """`fresh().call(...)` in a process that is ended at once."""
        ...


__all__ = [
    "Array",
    "Arrays",
    "Bound",
    "Candidate",
    "CandidateFault",
    "Containment",
    "Cost",
    "Frame",
    "Json",
    "Level",
    "Objective",
    "Point",
    "Process",
    "Resident",
    "Returns",
    "Seed",
    "Service",
    "Settings",
    "Signature",
    "Split",
    "Status",
    "Subject",
    "Value",
    "Verdict",
]
