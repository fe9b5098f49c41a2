"""The whole call protocol against a child that may send anything: only the answer to the question is ever accepted.

The child here is a thread at the other end of the real socket, so that what it sends can be generated. It answers the
questions of one process with streams that are honest, cut, changed, spliced, extended, replayed from earlier
questions, or noise, in pieces of any size.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vevolve.sandbox.process import SandboxedProcess
from vevolve.sandbox.warm import Child, End, Limits
from vevolve.types import Array, Candidate, CandidateFault, Service

HEADER = struct.Struct("<16sBQ")
READY, OPEN, CALL, REQUEST, REPLY, ANSWER, FAULT = range(1, 8)
RETURNS = Array("i8", (2,))
READS = b"\x00\x00\x01\x02\x04\x01" + struct.pack("<Qq", 1, 7)
"""The request `cache.keys([7])`."""
PROGRAM = Candidate("def f(cache): pass")

BRIEF_S = 0.05
"""For an answer that may never come whole. One that is late on a busy machine is not accepted, which is no harm."""

Stream = Callable[[Sequence[bytes]], bytes]
"""What is sent at last, from the nonces of all questions so far."""


def frame(nonce: bytes, kind: int, body: bytes) -> bytes:
    return HEADER.pack(nonce, kind, len(body)) + body


def body(number: int) -> bytes:
    return struct.pack("<qq", number, -number)


def honest(number: int) -> Stream:
    return lambda nonces: frame(nonces[-1], ANSWER, body(number))


@dataclasses.dataclass
class Peer:
    """The zygote and the child in one: it stands in for `vevolve.sandbox.warm.Warm`.

    Attributes:
        turns: by question, how often it reads before it answers, and what it sends then.
        pieces: bytes that are sent at once.
    """

    turns: Sequence[tuple[int, Stream]]
    pieces: int
    dead: int
    alive = True

    def spawn(self, channel: int, log: int) -> Child:
        self.nonces: list[bytes] = []
        self.sent: list[bytes] = []
        self.socket = socket.socket(fileno=os.dup(channel))
        self.thread = threading.Thread(target=self.live)
        self.thread.start()
        return Child(os.getpid(), os.dup(self.dead))

    def live(self) -> None:
        with contextlib.suppress(OSError, EOFError), self.socket:
            self.socket.sendall(frame(bytes(16), READY, b"{}"))
            for reads, stream in [(0, lambda nonces: frame(nonces[-1], ANSWER, b"")), *self.turns]:
                self.nonces.append(self.frame_of(OPEN, CALL))
                for _ in range(reads):
                    self.socket.sendall(frame(self.nonces[-1], REQUEST, READS))
                    self.frame_of(REPLY)
                said = stream(self.nonces)
                self.sent.append(said)
                for at in range(0, len(said), self.pieces):
                    self.socket.sendall(said[at : at + self.pieces])
            self.frame_of(OPEN, CALL)

    def frame_of(self, *kinds: int) -> bytes:
        """The nonce of the next frame of these kinds; others are passed over."""
        while True:
            nonce, kind, length = HEADER.unpack(self.exactly(HEADER.size))
            self.exactly(length)
            if kind in kinds:
                return bytes(nonce)

    def exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self.socket.recv(size - len(found))
            if not more:
                raise EOFError
            found += more
        return found

    def wait(self, child: Child) -> End:
        return End(0, 0.0)


@pytest.fixture(scope="module")
def dead() -> Iterator[int]:
    """The pidfd of a process that has ended: what is killed here is nobody."""
    with subprocess.Popen(["true"]) as process:
        watch = os.pidfd_open(process.pid)
        process.wait()
    yield watch
    os.close(watch)


@dataclasses.dataclass
class Nobody:
    """Keeps no account."""

    waited_s: float = 0.0

    def count(self, end: End, log: str) -> None:
        pass


def ask(peer: Peer, patience_s: float) -> list[np.ndarray[Any, Any]]:
    """The answers that were accepted, question by question, until the first fault.

    Args:
        peer: answers all questions but one more.
        patience_s: how long an answer is waited for.
    """
    accepted: list[np.ndarray[Any, Any]] = []
    read: list[Any] = []
    service = Service({}, keys=lambda ids: read.append(ids.tolist()) or np.zeros(3))
    warm: Any = peer
    process = SandboxedProcess(warm, PROGRAM, Limits(call_s=60, log_bytes=64), None, Nobody())
    try:
        with contextlib.suppress(CandidateFault):
            for place in range(len(peer.turns) + 1):
                within_s = patience_s if place < len(peer.turns) else BRIEF_S  # the last question gets no answer
                accepted.append(process.call("f", returns=RETURNS, serve={"cache": service}, timeout=within_s))
        with pytest.raises(CandidateFault):
            process.call("f", returns=RETURNS)
    finally:
        process.close()
        peer.thread.join(60)
    assert not peer.thread.is_alive() and all(ids == [7] for ids in read)
    return accepted


def proper(nonce: bytes, said: bytes) -> tuple[bytes, bytes] | None:
    """The body of the answer that `said` opens with, after any reads, and what follows; None where it is none."""
    while said.startswith(frame(nonce, REQUEST, READS)):
        said = said[len(frame(nonce, REQUEST, READS)) :]
    head = HEADER.pack(nonce, ANSWER, 16)
    return (said[25:41], said[41:]) if said.startswith(head) and len(said) >= 41 else None


@st.composite
def streams(draw: st.DrawFn, number: int) -> Stream:
    """One answer, honest or not."""
    good, other = honest(number), honest(draw(st.integers(0, 9)))
    at, to = draw(st.integers(0, 41)), draw(st.integers(0, 41))
    noise = draw(st.binary(max_size=60))
    kind = draw(st.integers(0, 255))
    length = draw(st.one_of(st.integers(0, 40), st.integers(0, (1 << 64) - 1)))
    past = draw(st.integers(0, 3))

    def old(nonces: Sequence[bytes]) -> list[bytes]:
        return [nonces[max(len(nonces) - 2 - past, 0)]]

    def changed(nonces: Sequence[bytes]) -> bytes:
        said = bytearray(good(nonces))
        said[at % len(said)] = kind
        return bytes(said)

    choices: list[Stream] = [
        good,
        lambda nonces: good(nonces)[:at],
        lambda nonces: good(nonces)[:at] + other(nonces)[to:],
        lambda nonces: good(nonces) + noise,
        lambda nonces: noise + good(nonces),
        lambda nonces: good(nonces) + other(nonces),
        lambda nonces: other(old(nonces)),
        lambda nonces: other(old(nonces)) + good(nonces),
        lambda nonces: good(nonces)[:at] + other(old(nonces))[to:],
        changed,
        lambda nonces: frame(nonces[-1], kind, noise),
        lambda nonces: HEADER.pack(nonces[-1], ANSWER, length) + body(number),
        lambda nonces: frame(nonces[-1], FAULT, noise) + good(nonces),
        lambda nonces: good([bytes(16)]),
        lambda nonces: frame(nonces[-1], REQUEST, READS) + good(nonces),
        lambda nonces: frame(nonces[-1], REQUEST, noise) + good(nonces),
        lambda nonces: noise,
    ]
    return draw(st.sampled_from(choices))


@settings(max_examples=250, deadline=None)
@given(data=st.data(), pieces=st.sampled_from([1, 7, 25, 1 << 20]))
def test_nothing_but_the_answer_to_each_question_is_accepted(dead: int, data: st.DataObject, pieces: int) -> None:
    count = data.draw(st.integers(1, 3))
    turns = [(data.draw(st.integers(0, 2)), data.draw(streams(number))) for number in range(count)]
    peer = Peer(turns, pieces, dead)
    accepted = ask(peer, BRIEF_S)
    assert len(accepted) <= count
    for place, answer in enumerate(accepted):
        found = proper(peer.nonces[place + 1], peer.sent[place + 1])
        assert found is not None, "an answer was made of bytes that are none"
        assert answer.tobytes() == found[0]
        assert not found[1] or place == len(accepted) - 1, "bytes that answered no question were passed over"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.sampled_from([1, 7, 25, 1 << 20]))
def test_every_honest_stream_is_accepted_whole(dead: int, reads: list[int], pieces: int) -> None:
    peer = Peer([(count, honest(number)) for number, count in enumerate(reads)], pieces, dead)
    assert [answer.tolist() for answer in ask(peer, 60)] == [[number, -number] for number in range(len(reads))]
