"""One candidate's process as the trusted side sees it: open, inspect, call, serve its reads, end.

Deadlines, sizes and the order of frames are kept here; bytes become values in `vevolve.sandbox.answers`. Between
calls the candidate has nothing to say: a byte that waits before a call, or follows an answer, is a violation.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from vevolve.errors import SandboxUnavailable, VEvolveError
from vevolve.sandbox import answers, wire
from vevolve.sandbox.channel import Channel
from vevolve.sandbox.inspection import inspect
from vevolve.sandbox.questions import Sent, encode_call, encode_reply
from vevolve.sandbox.warm import Child, End, Limits, Warm
from vevolve.sandbox.zygote import OUT_OF_MEMORY
from vevolve.types import Candidate, CandidateFault, Returns, Service, Status

READY_S = 30.0


Services = Sequence[tuple[str, Service]]


class Account(Protocol):
    """What the processes of one candidate have used together."""

    waited_s: float
    """Wall seconds of all questions to it, asked so far."""

    def count(self, end: End, log: str) -> None:
        """Note what an ended process used. `log`: the end of what it printed, untrusted text."""
        ...


class _HandlerError(Exception):
    """Carries what a handler raised past the errors of the channel, which are the candidate's."""


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
        account: Account,
    ) -> None:
        self._warm, self._limits, self._account = warm, limits, account
        self._functions = candidate.functions
        self._sent: Sent = {}
        self._child: Child | None = None
        self._fault: CandidateFault | None = None
        self._channel = Channel(limits.log_bytes)
        self.layers: dict[str, str] = {}
        self._started = time.monotonic()
        try:
            with self._channel.its_ends() as (channel, log):
                self._child = warm.spawn(channel, log)
            self.pid = self._child.pid
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
        asked = self._functions.get(function)
        if asked is None:
            raise CandidateFault("interface", f"the program must define `def {function}(...)` at top level")
        serve = serve or {}
        if not asked.open:
            named = {name: named[name] for name in asked.names if name in named}
            serve = {name: serve[name] for name in asked.names if name in serve}
        pieces = encode_call(function, args, named, serve, returns, self._sent)
        return self._ask(wire.CALL, pieces, returns, timeout, f"`{function}`", list(serve.items()))

    def _ask(
        self,
        kind: int,
        pieces: list[Any],
        returns: Returns | None,
        timeout: float | None,
        what: str,
        services: Services = (),
    ) -> Any:
        """Send one question; serve what is read on the way; return the answer."""
        now = time.monotonic()
        own = now + (self._limits.call_s if timeout is None else timeout)
        total, allowed = self._limits.total_s, self._limits.candidate_s
        whole, last = self._started + total, now + allowed - self._account.waited_s
        deadline = min(own, whole, last)
        nonce = os.urandom(16)
        limit = 0 if returns is None else answers.answer_limit(returns)
        try:
            self._channel.demand_silence()
            self._channel.send(nonce, kind, pieces, deadline)
            while True:
                kind, body = self._channel.receive(nonce, limit, deadline)
                if kind == wire.REQUEST:
                    self._channel.send(nonce, wire.REPLY, self._serve(body, services), deadline)
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
            limit_s = {own: f"within {own - now:.3g} s", whole: f"before its process had run {total:.3g} s"}
            spent = limit_s.get(deadline, f"before the program had been waited for {allowed:.3g} s in all")
            self._fail("timeout", f"{what} did not answer {spent}")
        except (BrokenPipeError, ConnectionResetError, EOFError):
            self._fail(*self._post_mortem(what))
        except CandidateFault as fault:
            self._fail(fault.status, fault.feedback)
        except _HandlerError as error:
            self.close()
            assert error.__cause__ is not None
            raise error.__cause__ from None
        except BaseException:
            self.close()
            raise
        finally:
            self._account.waited_s += time.monotonic() - now

    def _serve(self, body: memoryview, services: Services) -> list[Any]:
        number, place, args = answers.read_request(body)
        if number >= len(services):
            raise wire.WireError(f"a request to service {number} of {len(services)}")
        service, methods = services[number][0], list(services[number][1].methods.items())
        if place >= len(methods):
            raise wire.WireError(f"a request to method {place} of {len(methods)}")
        name, method = methods[place]
        try:
            return encode_reply(method(*args))
        except CandidateFault:
            raise
        except Exception as error:
            if isinstance(error, TypeError) and not _takes(method, args):
                raise CandidateFault("crash", f"`{service}.{name}` does not take {len(args)} arguments") from error
            raise _HandlerError from error

    @property
    def log(self) -> str:
        """The end of what the candidate printed. Untrusted text."""
        return self._channel.log

    # ------------------------------------------------------------------------------------------- life and death

    def _await_ready(self, expected: Mapping[str, str] | None) -> None:
        """Until the child has put on its layers; then see from outside that it did."""
        try:
            kind, body = self._channel.receive(wire.NO_NONCE, 1 << 16, self._started + READY_S)
        except (EOFError, TimeoutError, ConnectionResetError) as error:
            if not self._warm.alive:
                raise BrokenPipeError("the zygote is gone") from error
            raise SandboxUnavailable(f"A sandboxed process did not start: {self.log or 'no message'}.") from error
        self.layers = json.loads(bytes(body)) if kind == wire.READY else {}
        assert self._child is not None
        inspect(self._child.pid, self.layers, self._child.slot)
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
        code = os.WEXITSTATUS(end.status)
        if code == OUT_OF_MEMORY:
            return "resource", f"{what} most likely left no memory for the question or its answer"
        return "crash", f"{what} ended its process with exit code {code}"

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
        self._account.count(end, self._channel.log)
        return end

    def close(self) -> None:
        """Kill it and all that it started, and wait until it is gone."""
        try:
            self._reap()
        finally:
            self._channel.close()
            if self._fault is None:
                self._fault = CandidateFault("crash", "the process has ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _takes(method: Callable[..., Any], args: Sequence[Any]) -> bool:
    try:
        signature(method).bind(*args)
    except TypeError:
        return False
    return True


def _ended(watch: int, within_s: float) -> bool:
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    return bool(poll.poll(within_s * 1e3))
