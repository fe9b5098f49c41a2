"""A candidate under examination: the protocol of the handle, what it may answer, and what can be passed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from vevolve.types.program import Candidate
from vevolve.types.verdict import Containment

if TYPE_CHECKING:
    from numpy.typing import NDArray


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

    @property
    def processes(self) -> int:
        """How many were started for it, those of hosted programs included."""
        ...

    @property
    def cpu_s(self) -> float:
        """CPU seconds of its processes that have ended."""
        ...

    @property
    def containment(self) -> Containment | None:
        """Which sandbox layers hold its processes; None where there is no sandbox."""
        ...

    def hosting(self, program: Candidate) -> Subject:
        """A subject for a problem's own program, in the same sandbox and on the same account.

        For problems to which candidates are data that a program of theirs works on.
        """
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
