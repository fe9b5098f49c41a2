"""Answers spoilt on their way back: what a problem must never reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vevolve.types import Candidate, Containment, Frame, Process, Returns, Service, Subject


def _not_a_number(array: NDArray[Any]) -> NDArray[Any]:
    return np.full_like(array, np.nan) if array.dtype.kind == "f" else array


def _infinite(array: NDArray[Any]) -> NDArray[Any]:
    return np.full_like(array, np.inf) if array.dtype.kind == "f" else array


def _huge(array: NDArray[Any]) -> NDArray[Any]:
    limit = np.finfo(array.dtype).max if array.dtype.kind == "f" else np.iinfo(array.dtype).max
    return np.full_like(array, limit)


def _negative(array: NDArray[Any]) -> NDArray[Any]:
    return -np.abs(array) - 1 if array.dtype.kind in "if" else array


CORRUPTIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "not a number": _not_a_number,
    "infinite": _infinite,
    "huge": _huge,
    "negative": _negative,
}
"""Each keeps shape and dtype and spoils every value that its dtype can hold spoilt; booleans stay."""


class Corrupted:
    """A subject whose every answer is spoilt after it was checked, as a wrong or hostile program would spoil it.

    Attributes:
        touched: how many arrays or numbers were changed so far.
    """

    def __init__(
        self, subject: Subject, corrupt: Callable[[NDArray[Any]], NDArray[Any]], owner: Corrupted | None = None
    ) -> None:
        self._subject = subject
        self._corrupt = corrupt
        self._owner = owner
        self.touched = 0

    @property
    def candidate(self) -> Candidate:
        """The program."""
        return self._subject.candidate

    @property
    def processes(self) -> int:
        """How many the subject started."""
        return self._subject.processes

    @property
    def cpu_s(self) -> float:
        """What they spent."""
        return self._subject.cpu_s

    @property
    def containment(self) -> Containment | None:
        """What holds them."""
        return self._subject.containment

    def hosting(self, program: Candidate) -> Corrupted:
        """A subject for a problem's own program, its answers spoilt as well."""
        return Corrupted(self._subject.hosting(program), self._corrupt, self)

    def fresh(self) -> Process:
        """A process of the subject, its answers spoilt."""
        return _CorruptedProcess(self._subject.fresh(), self)

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
        """A call in a fresh process, its answer spoilt."""
        answer = self._subject.call(function, *args, returns=returns, serve=serve, timeout=timeout, **named)
        return self.spoil(answer)

    def spoil(self, answer: Any) -> Any:
        """The answer with every array and every number in it spoilt."""
        if isinstance(answer, np.ndarray):
            if answer.dtype.kind == "b" or answer.size == 0:
                return answer
            spoilt = self._corrupt(answer)
            (self._owner or self).touched += spoilt is not answer
            return spoilt
        if isinstance(answer, Frame):
            frame = Frame({path: self.spoil(array) for path, array in answer.items()})
            frame.wire_bytes = answer.wire_bytes
            return frame
        if isinstance(answer, dict):
            return {key: self.spoil(item) for key, item in answer.items()}
        if isinstance(answer, list):
            return [self.spoil(item) for item in answer]
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            return self.spoil(np.asarray(answer)).item()
        return answer


class _CorruptedProcess:
    def __init__(self, process: Process, owner: Corrupted) -> None:
        self._process = process
        self._owner = owner

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, trace)

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
        answer = self._process.call(function, *args, returns=returns, serve=serve, timeout=timeout, **named)
        return self._owner.spoil(answer)
