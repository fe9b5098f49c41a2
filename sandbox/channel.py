"""The trusted side's end of a candidate's channel: whole frames under a deadline, and the drain of what it prints."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import time
from collections.abc import Generator
from typing import Any

import numpy as np

from vevolve.sandbox import answers, wire

BUFFER = 1 << 18
SO_SNDBUFFORCE, SEND_BUFFER = 32, 2 << 20
PIPE = 1 << 16
MOST_PIECES = 1000
"""Below the kernel's limit for one gathered write."""


class Channel:
    """A stream socket for frames and a pipe for the log.

    Every method that waits takes a deadline on the monotonic clock and raises TimeoutError past it; EOFError,
    BrokenPipeError or ConnectionResetError mean that the candidate's end is closed.
    """

    def __init__(self, log_bytes: int) -> None:
        self._log_bytes = log_bytes
        self._said = bytearray()
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._socket, self._its_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._log, self._its_log = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.fcntl(self._its_log, fcntl.F_SETFL, 0)
        self._socket.setblocking(False)
        for end in (self._socket, self._its_socket):
            _widen(end)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._log, select.POLLIN)

    @contextlib.contextmanager
    def its_ends(self) -> Generator[tuple[int, int], None, None]:
        """The descriptors of the candidate's ends, to be handed over; they are closed here afterwards."""
        try:
            yield self._its_socket.fileno(), self._its_log
        finally:
            self._its_socket.close()
            os.close(self._its_log)

    # ------------------------------------------------------------------------------------------------- frames

    def demand_silence(self) -> None:
        """Raise `WireError` where bytes wait that answer no question."""
        try:
            early = self._socket.recv(1)
        except BlockingIOError:
            return
        if not early:
            raise EOFError
        raise wire.WireError("bytes that answer no question")

    def send(self, nonce: bytes, kind: int, pieces: list[Any], deadline: float) -> None:
        """Send one frame, its body in pieces."""
        length = sum(piece.nbytes if isinstance(piece, np.ndarray) else len(piece) for piece in pieces)
        parts = [wire.HEADER.pack(nonce, kind, length), *pieces]
        if len(parts) > MOST_PIECES:
            parts = [b"".join(parts)]
        done = 0
        with contextlib.suppress(BlockingIOError):
            done = self._socket.sendmsg(parts)
        if done == wire.HEADER.size + length:
            return
        for view in map(_bytes_of, parts):
            while done < len(view):
                self._wait(deadline, writing=True)
                with contextlib.suppress(BlockingIOError):
                    done += self._socket.send(view[done:])
            done -= len(view)

    def receive(self, nonce: bytes, limit: int, deadline: float) -> tuple[int, memoryview]:
        """The kind and the body of the next frame; the body is good until the next one is received.

        Args:
            nonce: what the frame must be bound to.
            limit: the most bytes that the body of an answer may have; nothing larger is ever allocated.
            deadline: on the monotonic clock.
        """
        got, size = 0, wire.HEADER.size
        while got < size:
            got += self._read(self._view[got:], deadline)
        found, kind, length = wire.HEADER.unpack_from(self._buffer)
        if found != nonce:
            raise wire.WireError("an answer to another question")
        most = wire.MAX_FAULT if kind == wire.FAULT else wire.MAX_REQUEST if kind == wire.REQUEST else limit
        if length > most:
            raise wire.WireError(f"a frame of {length} bytes, at most {most} expected")
        if got > size + length:
            raise wire.WireError(f"{got - size - length} bytes more than the frame holds")
        if size + length <= BUFFER:
            while got < size + length:
                got += self._read(self._view[got : size + length], deadline)
            return kind, self._view[size : size + length]
        body = memoryview(bytearray(length))
        body[: got - size] = self._view[size:got]
        got -= size
        while got < length:
            got += self._read(body[got:], deadline)
        return kind, body

    def _read(self, into: memoryview, deadline: float) -> int:
        while True:
            self._wait(deadline)
            try:
                got = self._socket.recv_into(into)
            except BlockingIOError:
                continue
            if not got:
                raise EOFError
            return got

    def _wait(self, deadline: float, writing: bool = False) -> None:
        """Until the socket can be read (or written); meanwhile, let the candidate print."""
        if writing:
            self._poll.modify(self._socket, select.POLLOUT)
        try:
            while True:
                left = deadline - time.monotonic()
                ready = self._poll.poll(left * 1e3) if left > 0 else []
                if not ready:
                    raise TimeoutError
                if len(ready) == 1 and ready[0][0] != self._log:
                    return
                if not self._drain():
                    # Readable and empty: the candidate closed its side.
                    self._poll.unregister(self._log)
                if len(ready) > 1:
                    return
        finally:
            if writing:
                self._poll.modify(self._socket, select.POLLIN)

    # --------------------------------------------------------------------------------------------------- log

    @property
    def log(self) -> str:
        """The end of what was printed. Untrusted text."""
        # What the pipe can hold, and no more of a program that never stops printing.
        for _ in range(PIPE // select.PIPE_BUF + 1):
            if self._log < 0 or not self._drain():
                break
        return answers.plain(bytes(self._said), self._log_bytes)

    def _drain(self) -> bool:
        """Keep the end of what was printed. False when there is no more now, or never will be."""
        try:
            text = os.read(self._log, PIPE)
        except BlockingIOError:
            return False
        self._said += text
        del self._said[: -self._log_bytes]
        return bool(text)

    def close(self) -> None:
        """Close this side. What was printed stays."""
        if self._log >= 0:
            _ = self.log
            self._socket.close()
            os.close(self._log)
            self._log = -1


def _widen(end: socket.socket) -> None:
    """Room for large arrays: past the limit of an ordinary user where that is allowed."""
    try:
        end.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
    except PermissionError:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def _bytes_of(piece: Any) -> memoryview:
    return piece.reshape(-1).view("u1").data if isinstance(piece, np.ndarray) else memoryview(piece)
