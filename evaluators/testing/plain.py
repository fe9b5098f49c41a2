"""A subject without a sandbox. NOTHING CONFINES THE PROGRAM: for tests and debugging of programs you wrote yourself."""

from __future__ import annotations

import json
import types as python
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace, TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vevolve.types import (
    Arrays,
    Candidate,
    CandidateFault,
    Containment,
    Frame,
    Json,
    Resident,
    Returns,
    Seed,
    Service,
    Settings,
)

Library = Literal["numpy", "torch"]


class PlainSubject:
    """UNCONFINED: the candidate runs inside this very process, with all your rights, and is never timed out.

    It can read your files and keys, patch the evaluator that judges it, and hang. It stands where a sandboxed subject
    would, with the same rules for arguments and answers, so that an evaluator can be tested and stepped through with
    a debugger. Never examine a model's program with it: use `vevolve.sandbox.Sandbox`.

    Args:
        candidate: the program.
        arrays: what it sees where an array is passed; torch is imported only for "torch".
    """

    def __init__(self, candidate: Candidate, arrays: Library = "numpy") -> None:
        self._candidate = candidate
        self._arrays: Library = arrays
        self.processes = 0
        self.cpu_s = 0.0
        self.containment: Containment | None = None

    @property
    def candidate(self) -> Candidate:
        """The program."""
        return self._candidate

    def hosting(self, program: Candidate) -> PlainSubject:
        """A subject for a problem's own program, to which the candidate is data; it stands in this process too."""
        return PlainSubject(program, self._arrays)

    def fresh(self) -> PlainProcess:
        """A new module that knows nothing of the others (though it shares every imported library with them)."""
        self.processes += 1
        return PlainProcess(self._candidate, self._arrays)

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
        """Call a function in a fresh module. Raises `CandidateFault`."""
        with self.fresh() as process:
            return process.call(function, *args, returns=returns, serve=serve, timeout=timeout, **named)


class PlainProcess:
    """One module that holds a candidate's program, in this process. See `PlainSubject`."""

    def __init__(self, candidate: Candidate, arrays: Library) -> None:
        self._candidate = candidate
        self._arrays: Library = arrays
        self._module: python.ModuleType | None = None
        self._fault: CandidateFault | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._module = None

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
        """Call a top-level function and return its answer, checked against `returns`. `timeout` is ignored.

        Raises:
            CandidateFault: the program does not parse, lacks the function, raised, or answered out of form. Every
                later call raises it again.
        """
        if self._fault is None:
            try:
                return checked(self._answer(function, args, serve or {}, named), returns)
            except CandidateFault as fault:
                self._fault = fault
        raise self._fault

    def _answer(
        self, function: str, args: Sequence[Any], serve: Mapping[str, Service], named: Mapping[str, Any]
    ) -> Any:
        signature = self._candidate.functions.get(function)
        if signature is None:
            raise CandidateFault("interface", f"the program must define `def {function}(...)` at top level")
        broken: list[CandidateFault] = []
        given = {**named, **{name: _remote(service, self._arrays, broken) for name, service in serve.items()}}
        wanted = given if signature.open else {name: given[name] for name in signature.names if name in given}
        answer: Any = None
        try:
            answer = getattr(self._loaded(), function)(
                *(_inward(value, self._arrays) for value in args),
                **{name: _inward(value, self._arrays) for name, value in wanted.items()},
            )
        except (Exception, SystemExit) as error:
            if not broken:
                raise CandidateFault("crash", f"{type(error).__name__}: {error}") from error
        if broken:
            raise broken[0]
        return answer

    def _loaded(self) -> python.ModuleType:
        if self._module is None:
            module = python.ModuleType("candidate")
            exec(compile(self._candidate.tree, "<candidate>", "exec"), module.__dict__)  # noqa: S102 - what it is for
            self._module = module
        return self._module


# ------------------------------------------------------------------------------------------------ to the candidate


def _inward(value: Any, arrays: Library) -> Any:
    """A value as the candidate sees it; arrays are copied, so that writing to them changes nothing outside."""
    if isinstance(value, Resident):
        return _inward(value.value, arrays)
    if isinstance(value, np.ndarray | Seed) and arrays == "torch":
        import torch

        if isinstance(value, Seed):
            return torch.Generator().manual_seed(value.integer)
        return torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Seed):
        return np.random.default_rng(value.integer)
    if isinstance(value, Settings):
        return SimpleNamespace(**value.values)
    if isinstance(value, Mapping):
        return {key: _inward(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_inward(item, arrays) for item in value)
    return value


def _remote(service: Service, arrays: Library, broken: list[CandidateFault]) -> Any:
    """What the candidate holds of a service: of a class of its own, since there Python looks for `obj[...]`."""
    methods = {name: _method(handler, arrays, broken) for name, handler in service.methods.items()}
    remote = type("Service", (), methods)()
    vars(remote).update(service.attributes)
    return remote


def _method(handler: Callable[..., Any], arrays: Library, broken: list[CandidateFault]) -> Callable[..., Any]:
    def method(_: Any, *args: Any) -> Any:
        try:
            return _inward(np.asarray(handler(*(_argument(value) for value in args))), arrays)
        except CandidateFault as fault:
            # The candidate may catch what it likes; a broken rule still ends its examination.
            broken.append(fault)
            raise

    return method


def _argument(value: Any) -> str | int | NDArray[Any]:
    """An argument of a service's method as the trusted side gets it."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    array = _array(value)
    if array.dtype.kind not in "iu":
        raise CandidateFault("wrong", f"expected integers, got {array.dtype}")
    return array


# ---------------------------------------------------------------------------------------------- from the candidate


def checked(answer: Any, returns: Returns) -> Any:
    """An answer in the form that was asked for, arrays read-only. Raises `CandidateFault` where it has another form."""
    if isinstance(returns, Json):
        return _json(answer, returns)
    if isinstance(returns, Arrays):
        return _frame(answer, returns)
    array = _array(answer)
    if array.shape != returns.shape:
        raise CandidateFault("wrong", f"expected an array of shape {returns.shape}, got {array.shape}")
    if not np.can_cast(array.dtype, np.dtype(returns.dtype), "same_kind"):
        raise CandidateFault("wrong", f"expected an array of {np.dtype(returns.dtype).name}, got {array.dtype.name}")
    return _own(array.astype(returns.dtype))


def _frame(answer: Any, returns: Arrays) -> Frame:
    frame = Frame()
    _flatten(answer, "", frame)
    size = sum(array.nbytes for array in frame.values())
    deepest = max((array.ndim for array in frame.values()), default=0)
    if len(frame) > returns.max_count or deepest > returns.max_dims or size > returns.max_bytes:
        raise CandidateFault(
            "wrong",
            f"the answer has {len(frame)} arrays of {size} bytes and up to {deepest} dimensions; at most "
            f"{returns.max_count} arrays, {returns.max_bytes} bytes and {returns.max_dims} dimensions are allowed",
        )
    # As on the sandbox's wire: a count; then for each array its name, its dtype and its dimensions.
    frame.wire_bytes = 2 + sum(3 + len(path.encode()) + 8 * array.ndim + array.nbytes for path, array in frame.items())
    return frame


def _flatten(answer: Any, path: str, frame: Frame) -> None:
    if answer is None:
        return
    if isinstance(answer, Mapping | tuple | list):
        for key, item in answer.items() if isinstance(answer, Mapping) else enumerate(answer):
            word = str(key)
            if not isinstance(key, str | int) or not word.isprintable() or not word or "." in word:
                raise CandidateFault("wrong", f"{key!r:.64} cannot name a part of an answer; use words without a dot")
            _flatten(item, f"{path}.{word}" if path else word, frame)
        return
    array = _array(answer)
    if not array.size:
        raise CandidateFault("wrong", f"the answer's array '{path}' is empty; return None in its place")
    frame[path] = _own(array)


def _json(answer: Any, returns: Json) -> Any:
    def plain(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        raise CandidateFault("wrong", f"an answer holds a {type(value).__name__}, which is not JSON")

    try:
        text = json.dumps(answer, default=plain, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CandidateFault("wrong", f"the answer is not JSON: {error}") from error
    if len(text.encode()) > returns.max_bytes:
        raise CandidateFault(
            "wrong", f"an answer of {len(text)} bytes of JSON, at most {returns.max_bytes} are allowed"
        )
    return json.loads(text)


def _array(value: Any) -> NDArray[Any]:
    """An array of plain numbers from one, from a tensor, or from numbers. Raises `CandidateFault` for anything else."""
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        try:
            value = value.detach().cpu().numpy()
        except TypeError as error:  # a dtype that numpy has no name for, such as bfloat16
            raise CandidateFault("wrong", f"{value.dtype} cannot leave the sandbox; use float32") from error
    if not isinstance(value, np.ndarray | np.generic | int | float | list | tuple):
        raise CandidateFault("wrong", f"expected an array or numbers, got {type(value).__name__}")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise CandidateFault("wrong", f"expected an array, got nested numbers that are none: {error}") from error
    if array.dtype.kind not in "biuf":
        raise CandidateFault("wrong", f"expected numbers, got {array.dtype}")
    return array


def _own(array: NDArray[Any]) -> NDArray[Any]:
    copy = np.array(array, order="C")
    copy.flags.writeable = False
    return copy
