"""The trusted side's reading of what a candidate's process sent. Strict: one form is accepted, all others refused.

Every reader gets the body of a frame whose length was bounded before it was received, and returns a value with its
own memory or raises `WireError`. Nothing here trusts a length, a count, a dtype or a text.
"""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

import numpy as np

from vevolve.sandbox import wire
from vevolve.sandbox.wire import WireError
from vevolve.types import Array, Arrays, CandidateFault, Frame, Json, Returns, Status

HEADERS = 2 + wire.MAX_PATH + 2 + 8 * wire.MAX_DIMS
"""The most that describing one array of an answer can take."""


def answer_limit(returns: Returns) -> int:
    """The most bytes that the body of an answer may have."""
    if isinstance(returns, Array):
        return array_bytes(returns)
    if isinstance(returns, Arrays):
        return returns.max_bytes + returns.max_count * HEADERS
    return returns.max_bytes


def array_bytes(returns: Array) -> int:
    """The exact size of the one array that is expected."""
    return math.prod(returns.shape) * np.dtype(returns.dtype).itemsize


def read_answer(body: memoryview, returns: Returns) -> Any:
    """The answer in a frame, checked against what was asked for."""
    if isinstance(returns, Array):
        return _read_array(body, returns)
    if isinstance(returns, Arrays):
        return _read_arrays(body, returns)
    return _read_json(body, returns)


def _read_array(body: memoryview, returns: Array) -> np.ndarray[Any, Any]:
    if len(body) != array_bytes(returns):
        raise WireError(f"an answer of {len(body)} bytes, expected {array_bytes(returns)}")
    return _own(body, np.dtype(returns.dtype), returns.shape)


def _read_arrays(body: memoryview, returns: Arrays) -> Frame:
    if len(body) < 2:
        raise WireError("an answer that is cut short")
    (count,) = wire.COUNT.unpack_from(body)
    if count > returns.max_count:
        raise WireError(f"{count} arrays, at most {returns.max_count} allowed")
    frame, at, payload = Frame(), 2, 0
    for _ in range(count):
        path, at = _read_path(body, at)
        if path in frame:
            raise WireError(f"two arrays are named {path!r}")
        code, shape, size, at = wire.read_descriptor(body, at, returns.max_dims)
        # An empty array would carry bits in its other dimensions.
        if size == 0:
            raise WireError(f"the array {path!r} is empty")
        payload += size
        if payload > returns.max_bytes:
            raise WireError(f"arrays of more than {returns.max_bytes} bytes")
        frame[path] = _own(body[at : at + size], wire.DTYPES[code], shape)
        at += size
    if at != len(body):
        raise WireError(f"{len(body) - at} bytes after the last array")
    frame.wire_bytes = len(body)
    return frame


def _read_path(body: memoryview, at: int) -> tuple[str, int]:
    if at >= len(body) or at + 1 + body[at] > len(body):
        raise WireError("an array's name is cut short")
    end = at + 1 + body[at]
    try:
        path = str(body[at + 1 : end], "utf-8")
    except UnicodeDecodeError as error:
        raise WireError("an array's name is not UTF-8") from error
    if not path.isprintable():
        raise WireError("an array's name holds unprintable characters")
    return path, end


def _own(body: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if not len(body):
        try:
            return np.empty(shape, dtype)
        except ValueError as error:
            raise WireError("an empty array with dimensions that no memory could hold") from error
    array = np.frombuffer(body, dtype).reshape(shape).copy()
    if dtype.kind == "b" and array.size and array.view("u1").max() > 1:
        raise WireError("a bool that is neither 0 nor 1")
    array.flags.writeable = False
    return array


def _read_json(body: memoryview, returns: Json) -> Any:
    if len(body) > returns.max_bytes:
        raise WireError(f"JSON of {len(body)} bytes, at most {returns.max_bytes} allowed")
    try:
        value = json.loads(str(body, "utf-8"), parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise WireError(f"an answer that is not JSON: {type(error).__name__}") from error
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def read_request(body: memoryview) -> tuple[int, int, list[Any]]:
    """A call of a service's method: number of the service, of the method, and the arguments."""
    if len(body) < 3:
        raise WireError("a request that is cut short")
    service, method, count = body[0], body[1], body[2]
    at = 3
    args: list[Any] = []
    for _ in range(count):
        if at + 2 > len(body):
            raise WireError("a request's argument is cut short")
        tag, at = body[at], at + 1
        if tag == wire.ARRAY_ARGUMENT:
            code, shape, size, at = wire.read_descriptor(body, at, wire.MAX_DIMS)
            if code not in wire.INTEGERS:
                raise WireError("a request's array that is not of integers")
            args.append(_own(body[at : at + size], wire.DTYPES[code], shape))
            at += size
        elif tag == wire.INTEGER_ARGUMENT:
            if at + 8 > len(body):
                raise WireError("a request's integer is cut short")
            args.append(wire.INTEGER.unpack_from(body, at)[0])
            at += 8
        elif tag == wire.WORD_ARGUMENT:
            end = at + 1 + body[at]
            if body[at] > wire.MAX_WORD or end > len(body):
                raise WireError("a request's word is too long or cut short")
            try:
                args.append(str(body[at + 1 : end], "utf-8"))
            except UnicodeDecodeError as error:
                raise WireError("a request's word is not UTF-8") from error
            at = end
        else:
            raise WireError(f"an argument of unknown kind {tag}")
    if at != len(body):
        raise WireError("bytes after a request's last argument")
    return service, method, args


def read_fault(body: memoryview) -> CandidateFault:
    """The failure that a candidate's process reports of itself."""
    if not body or body[0] >= len(wire.FAULTS):
        raise WireError("a failure of unknown kind")
    status: Status = wire.FAULTS[body[0]]  # type: ignore[assignment]
    return CandidateFault(status, plain(bytes(body[1:])) or "it failed without a message")


def plain(text: bytes, limit: int = wire.MAX_FAULT) -> str:
    """A candidate's text without control, format and other invisible characters, cut to `limit` characters."""
    decoded = text.decode("utf-8", "replace")[:limit]
    return "".join(char for char in decoded if char == "\n" or not _is_hidden(char)).strip()


def _is_hidden(char: str) -> bool:
    """What nobody sees: control, format, unassigned; and the separators of lines that few programs know."""
    kind = unicodedata.category(char)
    return kind[0] == "C" or kind in ("Zl", "Zp")
