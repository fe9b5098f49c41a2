"""The trusted side's handle of a zygote: start it, have it fork, have it wait, end it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Collection, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from vevolve.errors import SandboxUnavailable, VEvolveError
from vevolve.sandbox import filters, zygote
from vevolve.sandbox.cgroups import Slot, Slots
from vevolve.sandbox.installation import LIBRARIES, Installation, drivers, installation
from vevolve.sandbox.profiles import CPU, Profile
from vevolve.types import Value

START_S = 120.0
"""Importing torch from a cold disk takes a while."""
ANSWER_S = 30.0


class Limits(Value):
    """What a candidate's process may use.

    Attributes:
        call_s: wall seconds of one call, unless the call says otherwise.
        total_s: wall seconds of the process, from its start; always holds.
        candidate_s: wall seconds that all processes of a candidate may be waited for in one examination; always holds.
        memory_bytes: address space beyond what the warm interpreter has.
        threads: threads besides the main one.
        log_bytes: how much of what it prints is kept, counted from the end.
        scratch_bytes: what it may store in its folder, and in one file.
    """

    call_s: float = 10.0
    total_s: float = 120.0
    candidate_s: float = 600.0
    memory_bytes: int = 2 << 30
    threads: int = 16
    log_bytes: int = 1 << 16
    scratch_bytes: int = 16 << 20


@dataclass(frozen=True)
class Child:
    """A process that the zygote forked."""

    pid: int
    watch: int
    """Its pidfd."""
    slot: Slot | None = None
    """Its control group, where there are any."""


@dataclass(frozen=True)
class End:
    """How a process ended: the wait status, and what it used."""

    status: int
    cpu_s: float


class Warm:
    """One running zygote.

    Raises:
        SandboxUnavailable: it could not be made as isolated as the kernel promised.
        VEvolveError: it did not start.
    """

    def __init__(
        self, arrays: Literal["torch", "numpy"], limits: Limits, withhold: Collection[str], profile: Profile = CPU
    ) -> None:
        self._lock = threading.Lock()
        self._slots, refusal = _open_slots(limits, withhold, profile)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, zygote.PACKET)
        self._port = ours
        with its, tempfile.TemporaryFile() as said:
            program = Path(zygote.__file__)
            # -S keeps out the .pth files of the environment, which may run code and lead to the repository.
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-s", "-P", "-B", str(program), str(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[its.fileno()],
                env=_environment() | dict(profile.environment),
                cwd="/",
                start_new_session=True,
            )
            its.close()
            self._end = weakref.finalize(self, _end, self.process, ours, self._slots)
            hello = self._prepare(_plan(arrays, limits, withhold, refusal, profile))
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip().splitlines()
        if hello is None:
            self.close()
            raise VEvolveError(f"The sandbox's warm process did not start: {words[-1] if words else 'no message'}.")
        if "fatal" in hello:
            self.close()
            raise SandboxUnavailable(f"The sandbox cannot be closed: {hello['fatal']}.")

    def _prepare(self, plan: str) -> dict[str, str] | None:
        self._port.settimeout(START_S)
        try:
            self._port.send(plan.encode())
            hello: dict[str, str] | None = json.loads(self._port.recv(zygote.PACKET) or b"null")
        except OSError:
            return None
        return hello

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def spawn(self, channel: int, log: int) -> Child:
        """Fork a child that holds these two descriptors. Raises OSError when the zygote is gone or cannot fork."""
        slot = self._slots.take() if self._slots else None
        with self._asking():
            socket.send_fds(self._port, [zygote.SPAWN], [channel, log, *(slot.doors if slot else [])])
            message, handles, _, _ = socket.recv_fds(self._port, zygote.STARTED.size, 1)
            if not message:
                raise BrokenPipeError("the zygote is gone")
        error, pid = zygote.STARTED.unpack(message)
        if error:
            self._give_back(slot)
            raise VEvolveError(f"The sandbox cannot start a process: {os.strerror(error)}.")
        return Child(pid, handles[0], slot)

    def wait(self, child: Child) -> End:
        """Reap a child that ends by itself or was killed, and see that nothing of it is left."""
        with self._asking():
            self._port.send(zygote.WAITING.pack(zygote.WAIT, child.pid))
            message = self._port.recv(zygote.ENDED.size)
            if not message:
                raise BrokenPipeError("the zygote is gone")
        self._give_back(child.slot)
        status, user, system, _ = zygote.ENDED.unpack(message)
        return End(status, user + system)

    @contextlib.contextmanager
    def _asking(self) -> Generator[None, None, None]:
        """One request at a time. A zygote that did not answer is ended, since its next answer would be an old one."""
        with self._lock:
            try:
                self._port.settimeout(ANSWER_S)
                yield
            except BaseException:
                self.close()
                raise

    def _give_back(self, slot: Slot | None) -> None:
        if self._slots is not None and slot is not None:
            self._slots.give_back(slot)

    def close(self) -> None:
        """End it and all its children."""
        self._end()


def _open_slots(limits: Limits, withhold: Collection[str], profile: Profile) -> tuple[Slots | None, str]:
    """Control groups, or why there are none."""
    if "cgroup" in withhold:
        return None, "withheld"
    try:
        memory = limits.memory_bytes + limits.scratch_bytes + profile.extra_bytes
        return Slots(memory, limits.threads + zygote.SHARED), ""
    except OSError as error:
        return None, error.strerror or str(error)


def _plan(arrays: str, limits: Limits, withhold: Collection[str], no_cgroup: str, profile: Profile) -> str:
    program, absent = b"", {}
    if no_cgroup:
        absent["cgroup"] = f"absent: {no_cgroup}"
    if "seccomp" not in withhold:
        try:
            program = filters.program(profile.name)
        except OSError as error:
            absent["seccomp"] = f"absent: {error.strerror}"
    return json.dumps(
        {
            **asdict(_installation(profile)),
            **profile.plan(),
            "arrays": arrays,
            "absent": absent,
            "withhold": sorted(withhold),
            "seccomp": program.hex(),
            "memory_bytes": limits.memory_bytes,
            "scratch_bytes": limits.scratch_bytes,
            "threads": limits.threads,
            # A hard end for a process that the trusted side could not kill; the deadlines are shorter.
            "cpu_s": int(limits.total_s * (1 + limits.threads)) + 10,
        }
    )


def _installation(profile: Profile) -> Installation:
    if profile.name == "cpu":
        return installation()
    more = drivers() if profile.name == "gpu" else ("triton",)
    return installation((*LIBRARIES, *more), profile.folders)


def _environment() -> dict[str, str]:
    """One thread, because a process that ran OpenMP with more cannot be forked; a fixed hash seed, because the same
    question must get the same answer in two processes."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", **one}


def _end(process: subprocess.Popen[bytes], port: socket.socket, slots: Slots | None) -> None:
    port.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if slots is not None:
        slots.close()
