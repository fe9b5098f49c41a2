"""The trusted side's reading of bytes: whatever arrives, only the bytes of an honest answer become an answer."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vevolve.sandbox import wire
from vevolve.sandbox.answers import answer_limit, plain, read_answer, read_fault, read_request
from vevolve.sandbox.wire import WireError
from vevolve.types import Array, Arrays, Json

LIMITS = Arrays(max_count=4, max_bytes=256, max_dims=3)
NAMES = ["bool", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8"]


def encode(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The one form of an answer, written down independently of the sandbox."""
    body = struct.pack("<H", len(arrays))
    for path, array in arrays.items():
        body += bytes([len(path.encode())]) + path.encode()
        body += bytes([NAMES.index(array.dtype.name if array.dtype == bool else array.dtype.str[1:]), array.ndim])
        body += b"".join(struct.pack("<Q", length) for length in array.shape) + array.tobytes()
    return body


@st.composite
def honest(draw: st.DrawFn) -> bytes:
    shape = st.lists(st.integers(1, 3), max_size=3).map(tuple)
    array = st.tuples(st.sampled_from(NAMES), shape, st.integers(0, 1)).map(
        lambda drawn: np.full(drawn[1], drawn[2], drawn[0])
    )
    return encode(draw(st.dictionaries(st.text("ab0.", max_size=4), array, max_size=4)))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Cut, spliced, changed or extended."""
    body, other = draw(honest()), draw(honest())
    at, to = draw(st.integers(0, len(body))), draw(st.integers(0, len(other)))
    changed = bytearray(body)
    changed[min(at, len(body) - 1)] = draw(st.integers(0, 255))
    return draw(st.sampled_from([body[:at], body[:at] + other[to:], bytes(changed), body + other[to:], body]))


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=80), honest(), damaged()))
def test_what_is_accepted_as_arrays_is_exactly_what_was_sent(body: bytes) -> None:
    try:
        frame = read_answer(memoryview(body), LIMITS)
    except WireError:
        return
    assert encode(frame) == body and frame.wire_bytes == len(body)
    assert len(frame) <= 4 and sum(array.nbytes for array in frame.values()) <= 256
    assert all(array.size and array.ndim <= 3 for array in frame.values())


@settings(max_examples=100, deadline=None)
@given(honest())
def test_every_honest_answer_within_the_limits_is_accepted(body: bytes) -> None:
    frame = read_answer(memoryview(body), Arrays(max_count=4, max_bytes=1 << 12, max_dims=3))
    assert encode(frame) == body


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(NAMES), st.lists(st.integers(0, 3), max_size=2).map(tuple))
def test_an_array_is_accepted_only_at_its_exact_size(body: bytes, dtype: str, shape: tuple[int, ...]) -> None:
    returns = Array(dtype, shape)
    try:
        array = read_answer(memoryview(body), returns)
    except WireError:
        assert len(body) != answer_limit(returns) or dtype == "bool"
        return
    assert array.tobytes() == body and array.shape == shape and array.dtype == dtype


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.binary(max_size=60), st.text('[]{}:",0123456789truefalsnu.eE+-\\Ndai ', max_size=40).map(str.encode))
)
def test_json_is_accepted_only_where_it_is_strict(body: bytes) -> None:
    try:
        value = read_answer(memoryview(body), Json())
    except WireError:
        return
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@pytest.mark.parametrize(
    "body",
    [b"NaN", b"[Infinity]", b'"\\ud800"', b"1" * 5000, b"[" * 60000, b"1e999", b"", b"\xff"],
    ids=["nan", "infinity", "half a character", "a huge number", "deep", "overflow", "nothing", "not text"],
)
def test_json_that_would_trip_a_reader_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        read_answer(memoryview(body), Json())


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.tuples(st.integers(0, 2), st.binary(max_size=40)).map(lambda d: bytes([0, 0, 1, d[0]]) + d[1]),
        st.tuples(st.integers(0, 9), st.lists(st.integers(0, 1 << 63), max_size=4)).map(
            lambda d: bytes([0, 0, 1, 2, d[0], len(d[1])]) + b"".join(struct.pack("<Q", n) for n in d[1])
        ),
    )
)
def test_requests_are_small_words_and_integers_or_refused(body: bytes) -> None:
    try:
        _, _, args = read_request(memoryview(body))
    except WireError:
        return
    for arg in args:
        assert isinstance(arg, int | str) or (isinstance(arg, np.ndarray) and arg.dtype.kind in "iu")
        assert not isinstance(arg, str) or len(arg.encode()) <= 64


@given(st.binary(max_size=80))
def test_a_reported_fault_is_one_of_four_kinds_and_plain(body: bytes) -> None:
    try:
        fault = read_fault(memoryview(body))
    except WireError:
        assert not body or body[0] >= len(wire.FAULTS)
        return
    assert fault.status in wire.FAULTS and all(char == "\n" or char.isprintable() for char in fault.feedback)


def test_text_from_a_candidate_loses_what_cannot_be_seen() -> None:
    assert plain("a\x1b[31m\x00b\u202ec\u200bd\ue000\ne\r".encode()) == "a[31mbcd\ne"


def test_an_array_in_a_bool_must_be_true_or_false() -> None:
    with pytest.raises(WireError, match="bool"):
        read_answer(memoryview(b"\x01\x02"), Array("bool", (2,)))
