"""One candidate's process as the trusted side sees it: open, inspect, call, serve its reads, end.

Deadlines, sizes and the order of frames are kept here; bytes become values in `vevolve.sandbox.answers`. Between
calls the candidate has nothing to say: a byte that waits before a call, or follows an answer, is a violation.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import marshal
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from vevolve.errors import SandboxUnavailable, VEvolveError
from vevolve.sandbox import answers, wire
from vevolve.sandbox.warm import Child, End, Limits, Warm
from vevolve.types import Array, Arrays, Candidate, CandidateFault, Returns, Seed, Service, Settings, Status

BUFFER = 1 << 18
SO_SNDBUFFORCE, SEND_BUFFER = 32, 2 << 20
READY_S = 30.0
PIPE = 1 << 16
MOST_PIECES = 1000
"""Below the kernel's limit for one gathered write."""


class SandboxedProcess:
    """A `vevolve.types.Process`. Made by `Subject.fresh`; the candidate's text has run when this returns.

    Raises:
        CandidateFault: the text failed.
        OSError: the zygote is gone.
    """

    def __init__(
        self,
        warm: Warm,
        candidate: Candidate,
        limits: Limits,
        expected: Mapping[str, str] | None,
        on_end: Callable[[End], None],
    ) -> None:
        self._warm, self._limits, self._on_end = warm, limits, on_end
        self._functions = candidate.functions
        self._log = bytearray()
        self._child: Child | None = None
        self._fault: CandidateFault | None = None
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._log_handle, its_log = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.layers: dict[str, str] = {}
        try:
            fcntl.fcntl(its_log, fcntl.F_SETFL, 0)
            self._channel.setblocking(False)
            for end in (self._channel, its):
                _widen(end)
            self._poll = select.poll()
            self._poll.register(self._channel, select.POLLIN)
            self._poll.register(self._log_handle, select.POLLIN)
            self._started = time.monotonic()
            self._child = warm.spawn(its.fileno(), its_log)
            self._pid = self._child.pid
        except BaseException:
            self._release()
            raise
        finally:
            its.close()
            os.close(its_log)
        try:
            self._await_ready(expected)
            self._ask(wire.OPEN, [candidate.source.encode("utf-8", "surrogatepass")], None, None, "the program")
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------------------------------------ calling

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
        """See `vevolve.types.Process.call`."""
        if self._fault is not None:
            raise self._fault
        signature = self._functions.get(function)
        if signature is None:
            raise CandidateFault("interface", f"the program must define `def {function}(...)` at top level")
        serve = serve or {}
        if not signature.open:
            named = {name: named[name] for name in signature.names if name in named}
            serve = {name: serve[name] for name in signature.names if name in serve}
        pieces = encode_call(function, args, named, serve, returns)
        return self._ask(wire.CALL, pieces, returns, timeout, f"`{function}`", list(serve.values()))

    def _ask(
        self,
        kind: int,
        pieces: list[Any],
        returns: Returns | None,
        timeout: float | None,
        what: str,
        services: Sequence[Service] = (),
    ) -> Any:
        """Send one question; serve what is read on the way; return the answer."""
        now = time.monotonic()
        own = now + (self._limits.call_s if timeout is None else timeout)
        deadline = min(own, self._started + self._limits.total_s)
        nonce = os.urandom(16)
        limit = 0 if returns is None else answers.answer_limit(returns)
        try:
            self._demand_silence()
            self._send(nonce, kind, pieces, deadline)
            while True:
                kind, body = self._receive(nonce, limit, deadline)
                if kind == wire.REQUEST:
                    self._send(nonce, wire.REPLY, self._serve(body, services), deadline)
                elif kind == wire.ANSWER:
                    return None if returns is None else answers.read_answer(body, returns)
                elif kind == wire.FAULT:
                    # It reported its failure and lives on, but what it holds is not worth asking again.
                    raise answers.read_fault(body)
                else:
                    raise wire.WireError(f"a frame of kind {kind}")
        except wire.WireError as error:
            self._fail("protocol", f"{what} broke the wire format: {error}")
        except TimeoutError:
            self._fail("timeout", f"{what} did not answer within {deadline - now:.3g} s")
        except (BrokenPipeError, ConnectionResetError, EOFError):
            self._fail(*self._post_mortem(what))
        except CandidateFault as fault:
            self._fail(fault.status, fault.feedback)
        except BaseException:
            self.close()
            raise

    def _serve(self, body: memoryview, services: Sequence[Service]) -> list[Any]:
        number, place, args = answers.read_request(body)
        if number >= len(services):
            raise wire.WireError(f"a request to service {number} of {len(services)}")
        methods = list(services[number].methods.values())
        if place >= len(methods):
            raise wire.WireError(f"a request to method {place} of {len(methods)}")
        array = np.asarray(methods[place](*args))
        array = array if array.flags.c_contiguous else np.array(array, order="C")
        return [wire.aligned(wire.descriptor(array)), array]

    # ------------------------------------------------------------------------------------------------ channel

    def _demand_silence(self) -> None:
        try:
            early = self._channel.recv(1)
        except BlockingIOError:
            return
        if not early:
            raise EOFError
        raise wire.WireError("bytes that answer no question")

    def _send(self, nonce: bytes, kind: int, pieces: list[Any], deadline: float) -> None:
        length = sum(piece.nbytes if isinstance(piece, np.ndarray) else len(piece) for piece in pieces)
        parts = [wire.HEADER.pack(nonce, kind, length), *pieces]
        left = wire.HEADER.size + length
        if len(parts) > MOST_PIECES:
            parts = [b"".join(parts)]
        with contextlib.suppress(BlockingIOError):
            left -= self._channel.sendmsg(parts)
        if not left:
            return
        done = wire.HEADER.size + length - left
        for view in map(_bytes_of, parts):
            while done < len(view):
                self._wait(deadline, writing=True)
                with contextlib.suppress(BlockingIOError):
                    done += self._channel.send(view[done:])
            done -= len(view)

    def _receive(self, nonce: bytes, limit: int, deadline: float) -> tuple[int, memoryview]:
        """The next frame; its body is good until the next one is received."""
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
                got = self._channel.recv_into(into)
            except BlockingIOError:
                continue
            if not got:
                raise EOFError
            return got

    def _wait(self, deadline: float, writing: bool = False) -> None:
        """Until the channel can be read (or written); meanwhile, let the candidate print."""
        if writing:
            self._poll.modify(self._channel, select.POLLOUT)
        try:
            while True:
                left = deadline - time.monotonic()
                ready = self._poll.poll(left * 1e3) if left > 0 else []
                if not ready:
                    raise TimeoutError
                if len(ready) == 1 and ready[0][0] != self._log_handle:
                    return
                if not self._drain():
                    # Readable and empty: the candidate closed its side.
                    self._poll.unregister(self._log_handle)
                if len(ready) > 1:
                    return
        finally:
            if writing:
                self._poll.modify(self._channel, select.POLLIN)

    def _drain(self) -> bool:
        """Keep the end of what was printed. False when there is no more now, or never will be."""
        try:
            text = os.read(self._log_handle, PIPE)
        except BlockingIOError:
            return False
        self._log += text
        del self._log[: -self._limits.log_bytes]
        return bool(text)

    def _drain_all(self) -> None:
        """What the pipe can hold, and no more of a program that never stops printing."""
        for _ in range(PIPE // select.PIPE_BUF + 1):
            if self._log_handle < 0 or not self._drain():
                return

    @property
    def pid(self) -> int:
        """Its process id, as this side sees it."""
        return self._pid

    @property
    def log(self) -> str:
        """The end of what the candidate printed. Untrusted text."""
        self._drain_all()
        return answers.plain(bytes(self._log), self._limits.log_bytes)

    # ------------------------------------------------------------------------------------------- life and death

    def _await_ready(self, expected: Mapping[str, str] | None) -> None:
        """Until the child has put on its layers; then see from outside that it did."""
        try:
            kind, body = self._receive(wire.NO_NONCE, 1 << 16, self._started + READY_S)
        except (EOFError, TimeoutError, ConnectionResetError) as error:
            if not self._warm.alive:
                raise BrokenPipeError("the zygote is gone") from error
            self._drain()
            raise SandboxUnavailable(f"A sandboxed process did not start: {self.log or 'no message'}.") from error
        self.layers = json.loads(bytes(body)) if kind == wire.READY else {}
        assert self._child is not None
        inspect(self._child.pid, self.layers)
        if expected is not None and self.layers != expected:
            raise SandboxUnavailable(f"A sandboxed process has the layers {self.layers}, expected {dict(expected)}.")

    def _fail(self, status: Status, feedback: str) -> NoReturn:
        self.close()
        self._fault = CandidateFault(status, feedback)
        raise self._fault from None

    def _post_mortem(self, what: str) -> tuple[Status, str]:
        """Why the process is gone."""
        assert self._child is not None
        if not _ended(self._child.watch, 1.0):
            return "protocol", f"{what} closed its channel"
        end = self._reap()
        if end is None:
            raise VEvolveError("The sandbox's warm process ended while a candidate ran; its answer is lost.")
        if os.WIFSIGNALED(end.status):
            number = os.WTERMSIG(end.status)
            if number == signal.SIGKILL:
                return "resource", f"{what} was killed by the kernel, most likely for its memory or CPU time"
            return "crash", f"{what} ended its process by {signal.Signals(number).name}"
        return "crash", f"{what} ended its process with exit code {os.WEXITSTATUS(end.status)}"

    def _reap(self) -> End | None:
        """Kill it where it lives, and wait for it. None where the zygote is gone, and its children with it."""
        child, self._child = self._child, None
        if child is None:
            return None
        try:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.watch, signal.SIGKILL)
            end = self._warm.wait(child)
        except OSError:
            return None
        finally:
            os.close(child.watch)
        self._on_end(end)
        return end

    def _release(self) -> None:
        self._channel.close()
        if self._log_handle >= 0:
            os.close(self._log_handle)
            self._log_handle = -1

    def close(self) -> None:
        """Kill it and all that it started, and wait until it is gone."""
        self._reap()
        self._drain_all()
        self._release()
        if self._fault is None:
            self._fault = CandidateFault("crash", "the process has ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encode_call(
    function: str, args: tuple[Any, ...], named: Mapping[str, Any], serve: Mapping[str, Service], returns: Returns
) -> list[Any]:
    """The body of a call: a tree of the arguments, then the bytes of the arrays in it."""
    buffers: list[np.ndarray[Any, Any]] = []
    at = [0]
    tree = marshal.dumps(
        (
            function,
            [_tree(value, buffers, at) for value in args],
            {name: _tree(value, buffers, at) for name, value in named.items()},
            [(name, service.attributes, tuple(service.methods)) for name, service in serve.items()],
            _form(returns),
        )
    )
    head = wire.TREE.pack(len(tree)) + tree
    return [wire.aligned(head), *wire.padded(buffers)]


def _tree(value: Any, buffers: list[np.ndarray[Any, Any]], at: list[int]) -> Any:
    if isinstance(value, Settings):
        return ("settings", dict(value.values))
    if isinstance(value, Seed):
        return ("seed", value.integer)
    return wire.tree_of(value, buffers, at)


def _form(returns: Returns) -> tuple[Any, ...]:
    if isinstance(returns, Array):
        return ("array", returns.dtype, tuple(returns.shape))
    if isinstance(returns, Arrays):
        return ("arrays", returns.max_count, returns.max_bytes, returns.max_dims)
    return ("json", returns.max_bytes)


def inspect(pid: int, layers: Mapping[str, str]) -> None:
    """See from outside, in /proc, that the layers hold which a child says it put on.

    Raises:
        SandboxUnavailable: one does not.
    """
    folder = Path(f"/proc/{pid}")
    lines = (folder / "status").read_text().splitlines()
    status = {name: words for name, _, words in (line.partition(":") for line in lines)}
    wrong = []
    if layers.get("capabilities") == "active" and (int(status["CapEff"], 16) or int(status["CapPrm"], 16)):
        wrong.append("capabilities")
    if layers.get("landlock") == "active" and status["NoNewPrivs"].strip() != "1":
        wrong.append("no_new_privileges")
    if layers.get("seccomp") == "active" and status["Seccomp"].strip() != "2":
        wrong.append("seccomp")
    if layers.get("processes") == "active" and status["NSpid"].split()[1:] != ["1"]:
        wrong.append("processes")
    if layers.get("user") == "active":
        own = str(os.geteuid()) in status["Uid"].split()
        if own and (os.geteuid() == 0 or _same_namespace(folder, "user")):
            wrong.append("user")
    for name, kind in (("network", "net"), ("mounts", "mnt"), ("ipc", "ipc"), ("hostname", "uts")):
        if layers.get(name) == "active" and _same_namespace(folder, kind):
            wrong.append(name)
    if wrong:
        raise SandboxUnavailable(f"A sandboxed process is not closed, seen from outside: {', '.join(wrong)}.")


def _same_namespace(folder: Path, kind: str) -> bool:
    return os.readlink(folder / "ns" / kind) == os.readlink(f"/proc/self/ns/{kind}")  # noqa: PTH115


def _widen(end: socket.socket) -> None:
    """Room for large arrays: past the limit of an ordinary user where that is allowed."""
    try:
        end.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
    except PermissionError:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def _bytes_of(piece: Any) -> memoryview:
    return piece.reshape(-1).view("u1").data if isinstance(piece, np.ndarray) else memoryview(piece)


def _ended(watch: int, within_s: float) -> bool:
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    return bool(poll.poll(within_s * 1e3))
