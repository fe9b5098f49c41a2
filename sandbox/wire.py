"""The frames that cross between the trusted side and a candidate's process, as both ends write and read them.

A frame is a header (the nonce of the call, the kind, the length of the body) and a body. Arrays travel as a dtype
code, their dimensions and their raw bytes. Towards the candidate, the structure of arguments travels as `marshal`,
which is safe because the trusted side wrote it. From the candidate nothing is ever unmarshalled or unpickled: what
may come back is read field by field in `vevolve.sandbox.answers`, under declared maxima.

The candidate's process loads this file by path, so it imports nothing of vevolve.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

HEADER = struct.Struct("<16sBQ")
"""Nonce, kind, bytes in the body."""

NO_NONCE = bytes(16)
"""The nonce of the one frame that no call asked for: `READY`."""

READY, OPEN, CALL, REQUEST, REPLY, ANSWER, FAULT = range(1, 8)
"""Kinds. To the candidate: OPEN, CALL, REPLY. From it: READY (before its text is there), REQUEST, ANSWER, FAULT."""

DTYPES = tuple(np.dtype(name) for name in ("bool", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8"))
"""What an array may be made of; its position here is its code on the wire."""

CODES = {dtype: code for code, dtype in enumerate(DTYPES)}
INTEGERS = frozenset(CODES[np.dtype(name)] for name in ("i1", "i2", "i4", "i8", "u1"))
NAMES = ", ".join(dtype.name for dtype in DTYPES)

MAX_DIMS = 8
MAX_PATH = 255
MAX_WORD = 64
MAX_FAULT = 2048
MAX_REQUEST = 16 << 20

DESCRIPTOR = tuple(struct.Struct(f"<BB{count}Q") for count in range(MAX_DIMS + 1))
"""By number of dimensions: dtype code, number of dimensions, the dimensions."""

ARRAY_REQUEST = tuple(struct.Struct(f"<BBB{count}Q") for count in range(MAX_DIMS + 1))
COUNT = struct.Struct("<H")
INTEGER = struct.Struct("<q")
TREE = struct.Struct("<I")

INTEGER_ARGUMENT, WORD_ARGUMENT, ARRAY_ARGUMENT = range(3)
"""What a service's method may be given."""

ALIGNMENT = 64

FAULTS = ("crash", "interface", "resource", "wrong")
"""The statuses that a candidate's process may claim for its own failure."""


class WireError(ValueError):
    """Bytes that are not a frame of the expected form."""


def descriptor(array: np.ndarray[Any, Any]) -> bytes:
    """The dtype code and the dimensions of an array. Raises TypeError for a dtype that does not travel."""
    code = CODES.get(array.dtype)
    if code is None:
        raise TypeError(f"dtype {array.dtype} cannot cross the sandbox; use one of {NAMES}")
    return DESCRIPTOR[array.ndim].pack(code, array.ndim, *array.shape)


def aligned(head: bytes) -> bytes:
    """Padded, so that the bytes of an array may follow. Only towards the candidate, where no byte is charged."""
    return head + bytes(-len(head) % ALIGNMENT)


def read_descriptor(body: memoryview, at: int, max_dims: int) -> tuple[int, tuple[int, ...], int, int]:
    """The dtype code, shape, number of payload bytes and the offset of the payload of the array described at `at`.

    Raises `WireError` unless the whole array lies inside `body`.
    """
    if at + 2 > len(body):
        raise WireError("an array's descriptor is cut short")
    code, count = body[at], body[at + 1]
    if code >= len(DTYPES):
        raise WireError(f"unknown dtype code {code}")
    if count > min(max_dims, MAX_DIMS):
        raise WireError(f"an array of {count} dimensions, at most {min(max_dims, MAX_DIMS)} allowed")
    start = at + 2 + 8 * count
    if start > len(body):
        raise WireError("an array's dimensions are cut short")
    shape = DESCRIPTOR[count].unpack_from(body, at)[2:]
    size = math.prod(shape) * DTYPES[code].itemsize
    if size > len(body) - start:
        raise WireError("an array is longer than the frame that holds it")
    return code, shape, size, start
