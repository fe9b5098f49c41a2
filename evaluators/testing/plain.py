"""A subject without a sandbox. NOTHING CONFINES THE PROGRAM: for tests and debugging of programs you wrote yourself."""

from __future__ import annotations

import json
import types as python
from collections.abc import Callable, Mapping
from types import SimpleNamespace, TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vevolve.types import Array, Arrays, Candidate, CandidateFault, Frame, Json, Returns, Seed, Service, Settings

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

    @property
    def candidate(self) -> Candidate:
        """The program."""
        return self._candidate

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
            CandidateFault: the program does not parse, lacks the function, raised, or answered out of form.
        """
        signature = self._candidate.functions.get(function)
        if signature is None:
            raise CandidateFault("interface", f"the program defines no function `{function}`")
        broken: list[CandidateFault] = []
        answer: Any = None
        given = {
            **named,
            **{name: _Remote.of(service, self._arrays, broken) for name, service in (serve or {}).items()},
        }
        wanted = given if signature.open else {name: given[name] for name in signature.names if name in given}
        try:
            answer = getattr(self._loaded(), function)(
                *(_inward(value, self._arrays) for value in args),
                **{name: _inward(value, self._arrays) for name, value in wanted.items()},
            )
        except (Exception, SystemExit) as error:
            if not broken:
                raise CandidateFault("crash", f"`{function}` raised {type(error).__name__}: {error}") from error
        if broken:
            raise broken[0]
        return checked(answer, returns, function)

    def _loaded(self) -> python.ModuleType:
        if self._module is None:
            module = python.ModuleType("candidate")
            exec(compile(self._candidate.tree, "<candidate>", "exec"), module.__dict__)  # noqa: S102 - what it is for
            self._module = module
        return self._module


class _Remote:
    """What the candidate holds of a `Service`: its attributes, and its methods as calls."""

    @classmethod
    def of(cls, service: Service, arrays: Library, broken: list[CandidateFault]) -> _Remote:
        """A remote of its own class, since Python looks `obj[...]` up on the class."""
        methods = {name: _method(handler, arrays, broken) for name, handler in service.methods.items()}
        remote: _Remote = type("Remote", (cls,), methods)()
        vars(remote).update(service.attributes)
        return remote


def _method(handler: Callable[..., Any], arrays: Library, broken: list[CandidateFault]) -> Callable[..., Any]:
    def method(self: _Remote, *args: Any) -> Any:
        try:
            return _inward(handler(*(_argument(value) for value in args)), arrays)
        except CandidateFault as fault:
            # The candidate may catch what it likes; a broken rule still ends its examination.
            broken.append(fault)
            raise

    return method


def _argument(value: Any) -> str | NDArray[Any]:
    """An argument of a service call as the trusted side gets it."""
    if isinstance(value, str):
        return value
    array = _array(value)
    if array is None and isinstance(value, int | list | tuple):
        array = np.asarray(value)
    if array is None or array.dtype.kind not in "iu":
        raise CandidateFault("protocol", f"a read takes strings and integer arrays, not {_named(value)}")
    return array


def _inward(value: Any, arrays: Library) -> Any:
    """A value as the candidate sees it; arrays are copied, so that writing to them changes nothing outside."""
    if isinstance(value, np.ndarray):
        if arrays == "numpy":
            return value.copy()
        import torch

        return torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, Seed):
        if arrays == "numpy":
            return np.random.default_rng(value.integer)
        import torch

        return torch.Generator().manual_seed(value.integer)
    if isinstance(value, Settings):
        return SimpleNamespace(**value.values)
    if isinstance(value, Mapping):
        return {key: _inward(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_inward(item, arrays) for item in value]
    return value


def checked(answer: Any, returns: Returns, function: str) -> Any:
    """An answer in the form that was asked for. Raises `CandidateFault("protocol")` where it has another form."""
    if isinstance(returns, Json):
        return _json(answer, returns, function)
    if isinstance(returns, Array):
        array = _array(answer)
        found = _named(answer) if array is None else f"{_short(array)} {list(array.shape)}"
        if array is None or found != f"{np.dtype(returns.dtype).str[1:]} {list(returns.shape)}":
            wanted = f"one array {returns.dtype} {list(returns.shape)}"
            raise CandidateFault("protocol", f"`{function}` must return {wanted}; it returned {found}")
        return np.array(array, order="C")
    return _frame(answer, returns, function)


def _frame(answer: Any, returns: Arrays, function: str) -> Frame:
    frame = Frame()
    _flatten(answer, "", frame, function)
    too_deep = [array.ndim for array in frame.values() if array.ndim > returns.max_dims]
    size = sum(array.nbytes for array in frame.values())
    if len(frame) > returns.max_count or too_deep or size > returns.max_bytes:
        raise CandidateFault(
            "protocol",
            f"`{function}` returned {len(frame)} arrays of {size} bytes in all; at most {returns.max_count} arrays of "
            f"{returns.max_dims} dimensions and {returns.max_bytes} bytes in all are taken",
        )
    # One header an array: its path, and 8 bytes for each of count, dtype and dimension.
    frame.wire_bytes = size + sum(len(path.encode()) + 16 + 8 * array.ndim for path, array in frame.items())
    return frame


def _flatten(answer: Any, path: str, frame: Frame, function: str) -> None:
    array = _array(answer)
    if array is not None:
        frame[path] = np.array(array, order="C")
        return
    if isinstance(answer, Mapping):
        items = [(str(key), item) for key, item in answer.items()]
    elif isinstance(answer, tuple | list):
        items = [(str(place), item) for place, item in enumerate(answer)]
    else:
        raise CandidateFault("protocol", f"`{function}` must return arrays; at '{path}' stands {_named(answer)}")
    for key, item in items:
        _flatten(item, f"{path}.{key}" if path else key, frame, function)


def _json(answer: Any, returns: Json, function: str) -> Any:
    try:
        text = json.dumps(answer, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CandidateFault("protocol", f"`{function}` must return plain JSON: {error}") from error
    if len(text.encode()) > returns.max_bytes:
        raise CandidateFault(
            "protocol", f"`{function}` returned {len(text)} bytes of JSON; at most {returns.max_bytes}"
        )
    return json.loads(text)


def _array(value: Any) -> NDArray[Any] | None:
    """A numpy array of plain numbers from one, or from a tensor; None for anything else."""
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        try:
            value = value.detach().cpu().numpy()
        except TypeError:  # a dtype that numpy has no name for, such as bfloat16
            return None
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" else None


def _short(array: NDArray[Any]) -> str:
    return array.dtype.str[1:]


def _named(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
