"""The sandbox as a whole, and the candidates that are examined in it."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from vevolve.errors import SandboxUnavailable, VEvolveError
from vevolve.sandbox import canary, levels, profiles
from vevolve.sandbox.process import SandboxedProcess
from vevolve.sandbox.profiles import CPU, Profile
from vevolve.sandbox.warm import End, Limits, Warm
from vevolve.types import Candidate, Containment, Level, Returns, Service


class Sandbox:
    """A warm process from which isolated processes are forked, one at a time or several.

    Entering it proves with a canary which layers hold. Not to be shared between threads.

    Args:
        arrays: what candidates see where an array is passed.
        limits: of each process.
        minimum: the level below which nothing is run.
        allow_degraded: run below the minimum all the same. The level is reported as it is.
        withhold: layers to leave out, by name. For tests of the canary.
        profile: what its processes are for. On a GPU, tensors that are passed lie there.

    Raises:
        SandboxUnavailable: this machine does not isolate to the minimum.
    """

    def __init__(
        self,
        arrays: Literal["torch", "numpy"] = "torch",
        limits: Limits | None = None,
        minimum: Level = "L1",
        allow_degraded: bool = False,
        withhold: Collection[str] = (),
        profile: Profile = CPU,
    ) -> None:
        self.limits = limits or Limits()
        self.profile = profile
        if profile.name == "build":
            # Processes that it starts end with their namespace, and it needs a folder to write to.
            minimum, allow_degraded = max(minimum, "L2"), False
        self._arrays: Literal["torch", "numpy"] = arrays
        self._withhold = frozenset(withhold)
        self._open: weakref.WeakSet[SandboxedProcess] = weakref.WeakSet()
        self._expected: Mapping[str, str] | None = None
        self._warm = Warm(arrays, self.limits, self._withhold, profile)
        try:
            self.containment: Containment = canary.sing(self)
            if self.containment.level < minimum and not allow_degraded:
                raise SandboxUnavailable(levels.refusal(self.containment, minimum))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the warm process."""
        return self._warm.process.pid

    def subject(self, candidate: Candidate) -> SandboxedSubject:
        """The handle through which a candidate is examined here."""
        return SandboxedSubject(self, candidate)

    def spawn(self, subject: SandboxedSubject) -> SandboxedProcess:
        """A new process with the subject's program. A zygote that died is replaced once."""
        for attempt in (1, 2):
            try:
                process = SandboxedProcess(self._warm, subject.candidate, self.limits, self._expected, subject.account)
            except OSError as error:
                if attempt == 2:
                    raise VEvolveError(f"The sandbox's warm process ended twice: {error}.") from error
                self._warm.close()
                self._warm = Warm(self._arrays, self.limits, self._withhold, self.profile)
            else:
                self._expected = process.layers
                self._open.add(process)
                return process
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End every process and the warm one."""
        for process in list(self._open):
            process.close()
        self._warm.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SandboxedSubject:
    """A `vevolve.types.Subject`.

    Attributes:
        candidate: the program.
        processes: how many were started for it.
        cpu_s: CPU seconds of those that have ended.
        waited_s: wall seconds that they were waited for.
    """

    def __init__(self, sandbox: Sandbox, candidate: Candidate) -> None:
        self._sandbox = sandbox
        self.candidate = candidate
        self.processes = 0
        self.cpu_s = self.waited_s = 0.0

    @property
    def containment(self) -> Containment:
        """Which layers hold its processes."""
        return self._sandbox.containment

    @property
    def account(self) -> SandboxedSubject:
        """The subject at whose expense its processes run."""
        return self

    def hosting(self, program: Candidate) -> SandboxedSubject:
        """A subject for a problem's own program, in this sandbox and on this account: for candidates that are data.

        A process that is handed a candidate's text is as hostile as one that runs it, whatever its own program is.
        """
        return _Hosted(self, self._sandbox, program)

    def fresh(self) -> SandboxedProcess:
        """See `vevolve.types.Subject.fresh`. Raises `CandidateFault` where the text itself fails."""
        self.account.processes += 1
        return self._sandbox.spawn(self)

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
        """See `vevolve.types.Subject.call`."""
        with self.fresh() as process:
            return process.call(function, *args, returns=returns, serve=serve, timeout=timeout, **named)

    def count(self, end: End, log: str) -> None:
        """Note what an ended process used. `log`: the end of what it printed, untrusted text."""
        self.cpu_s += end.cpu_s


class _Hosted(SandboxedSubject):
    """Another program at the expense of a subject."""

    def __init__(self, owner: SandboxedSubject, sandbox: Sandbox, program: Candidate) -> None:
        super().__init__(sandbox, program)
        self._owner = owner

    @property
    def account(self) -> SandboxedSubject:
        return self._owner.account


def probe() -> Containment:
    """Which layers this machine gives, proven by a canary."""
    with Sandbox(arrays="numpy", allow_degraded=True) as sandbox:
        return sandbox.containment


def probe_gpu(number: int = 0) -> Containment:
    """Which layers hold for a candidate on a GPU, proven by a canary in which CUDA is initialised.

    Raises:
        SandboxUnavailable: no GPU can be used; the message says why.
    """
    with Sandbox(allow_degraded=True, profile=profiles.gpu(number)) as sandbox:
        return sandbox.containment
