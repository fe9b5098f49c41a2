"""A call's arguments, in the form in which they travel to a candidate's process.

Structure travels as `marshal`, which the child may read because the trusted side wrote it; arrays follow as raw
bytes, aligned so that the child uses them where they land.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from typing import Any

import numpy as np

from vevolve.sandbox import wire
from vevolve.types import Array, Arrays, Resident, Returns, Seed, Service, Settings

Buffers = list[np.ndarray[Any, Any]]
Sent = dict[Resident, int]
"""The resident arguments that a process holds, by its number for each."""


def encode_call(
    function: str,
    args: tuple[Any, ...],
    named: Mapping[str, Any],
    serve: Mapping[str, Service],
    returns: Returns,
    sent: Sent | None = None,
) -> list[Any]:
    """The body of a call, in pieces: a tree of the arguments, then the bytes of the arrays in it.

    `sent` holds what the process has been given to keep; what this call adds to it is noted there.

    Raises:
        TypeError: an argument is of a type that does not travel.
    """
    buffers: Buffers = []
    at = [0]
    tree = marshal.dumps(
        (
            function,
            [_argument(value, buffers, at, sent) for value in args],
            {name: _argument(value, buffers, at, sent) for name, value in named.items()},
            [(name, service.attributes, tuple(service.methods)) for name, service in serve.items()],
            _form(returns),
        )
    )
    pieces: list[Any] = [wire.aligned(wire.TREE.pack(len(tree)) + tree)]
    for array in buffers:
        pieces.append(array)
        if rest := -array.nbytes % wire.ALIGNMENT:
            pieces.append(bytes(rest))
    return pieces


def encode_reply(array: np.ndarray[Any, Any]) -> list[Any]:
    """What a service's method returned."""
    array = _contiguous(np.asarray(array))
    return [wire.aligned(wire.descriptor(array)), array]


def _argument(value: Any, buffers: Buffers, at: list[int], sent: Sent | None) -> Any:
    """An argument as a tree. One that is resident travels with its number once, and as that number from then on."""
    if not isinstance(value, Resident):
        return _tree(value, buffers, at)
    if sent is None:
        return _tree(value.value, buffers, at)
    if value in sent:
        return ("kept", sent[value])
    sent[value] = len(sent)
    return ("keep", sent[value], _tree(value.value, buffers, at))


def _tree(value: Any, buffers: Buffers, at: list[int]) -> Any:
    """An argument as a tree that `marshal` carries; arrays go to `buffers`, at offsets that `at[0]` counts up.

    Lists and dicts stand for themselves; everything else that is not a scalar is a tuple that opens with its tag.
    """
    if value is None or type(value) in (int, float, str, bool):
        return value
    if isinstance(value, np.ndarray):
        array = _contiguous(value)
        if array.dtype not in wire.CODES:
            raise TypeError(f"an argument of dtype {array.dtype} cannot cross the sandbox; use one of {wire.NAMES}")
        start = at[0]
        at[0] = start + (array.nbytes + wire.ALIGNMENT - 1) // wire.ALIGNMENT * wire.ALIGNMENT
        buffers.append(array)
        return ("array", start, wire.CODES[array.dtype], array.shape)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list):
        return [_tree(item, buffers, at) for item in value]
    if isinstance(value, tuple):
        return ("tuple", [_tree(item, buffers, at) for item in value])
    if isinstance(value, dict):
        return {key: _tree(item, buffers, at) for key, item in value.items()}
    if isinstance(value, Settings):
        return ("settings", dict(value.values))
    if isinstance(value, Seed):
        return ("seed", value.integer)
    raise TypeError(f"an argument of type {type(value).__name__} cannot cross the sandbox")


def _contiguous(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # ascontiguousarray would turn a scalar array into one of a single element.
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _form(returns: Returns) -> tuple[Any, ...]:
    if isinstance(returns, Array):
        return ("array", returns.dtype, tuple(returns.shape))
    if isinstance(returns, Arrays):
        return ("arrays", returns.max_count, returns.max_bytes, returns.max_dims)
    return ("json", returns.max_bytes)
