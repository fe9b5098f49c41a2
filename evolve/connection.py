"""How the driver gets to a Ray cluster, its own or one that runs, and away from it again.

Everything that Ray may block in happens in a thread or a process of its own, while the caller looks every
`PAUSE_S` seconds whether it was told to stop. So a signal is answered at any moment, and no wait is without an end.

- A running cluster is first tried by a process (`ray_probe`) that can be killed.
- A cluster of our own lives as long as the thread that started it: the kernel kills Ray's processes when that thread
  ends, for whatever reason. A watchdog (`ray_watchdog`) ends the processes that those had started, and removes the
  folder that they had to themselves.
- Ray takes SIGTERM for a crash and ends the process 3 seconds later. What was to answer a signal before answers it
  again once we are connected.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from vevolve.errors import BadInput, Stopped, VEvolveError, WorkerFailure
from vevolve.evolve import ray_probe, ray_watchdog

OBJECT_STORE_BYTES = 100 << 20
"""Jobs and verdicts are small; Ray's own default is a third of the machine's memory."""

JOIN_S = 30.0
"""For a cluster to answer."""

PAUSE_S = 0.25
"""Between two looks at whether the caller was told to stop."""

LONGEST_PLACE = 28
"""Bytes of the folder that holds a cluster's: the path of a socket has 107, and Ray puts up to 66 behind ours."""

Stop = Callable[[], bool]
"""Whether the user has asked to stop."""


def never() -> bool:
    """A caller that is never told to stop."""
    return False


def check(stopped: Stop) -> None:
    """Raise `Stopped` where the user asked for it."""
    if stopped():
        raise Stopped("Stopped before the workers were open; nothing was examined, and nothing is lost.")


class Connection:
    """A connection to Ray, held by a thread of its own until `close`.

    Args:
        connect: connects, and may block.
        stopped: whether to give up.
        seconds: how long to wait; None for as long as it takes.
        after: done in the end, however it comes.

    Raises:
        TimeoutError: it took longer. Where it succeeds later, the thread leaves at once.
        Stopped: the user asked for it; likewise.
        Exception: whatever `connect` raised.
    """

    def __init__(
        self,
        connect: Callable[[], None],
        stopped: Stop,
        *,
        seconds: float | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._connected, self._leave, self._left = threading.Event(), threading.Event(), threading.Event()
        self._error: BaseException | None = None
        threading.Thread(target=self._hold, args=(connect, after), name="ray-connection", daemon=True).start()
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            while not self._connected.wait(PAUSE_S):
                _answer_signals()
                check(stopped)
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"no answer within {seconds:.0f} s")
        except BaseException:
            self._leave.set()
            raise
        finally:
            _answer_signals()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Leave the cluster, and end it where it is our own."""
        self._leave.set()
        while not self._left.wait(PAUSE_S):
            pass

    def _hold(self, connect: Callable[[], None], after: Callable[[], None]) -> None:
        try:
            connect()
            self._connected.set()
            self._leave.wait()
        except BaseException as error:
            self._error = error
        finally:
            import ray

            with contextlib.suppress(Exception):
                ray.shutdown()
            after()
            self._connected.set()
            self._left.set()


def _answer_signals() -> None:
    """Let signals be answered as this process had settled it, and not by Ray, which takes SIGTERM for a crash.

    One that Ray took has set an alarm that aborts the process.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        handler = signal.getsignal(number)
        if handler is not None:  # else it was not set by Python, and cannot be set again
            signal.signal(number, handler)
            if number == signal.SIGALRM and handler is signal.SIG_DFL:
                signal.alarm(0)


def start_cluster(cpus: int, stopped: Stop = never) -> Connection:
    """Start a cluster on this machine's loopback interface; closing the connection ends it.

    Raises:
        Stopped: the user asked for it.
        WorkerFailure: Ray does not start here.
    """
    # Read when Ray is imported. In spite of its name it decides on Linux too whether a cluster of one machine
    # listens on the loopback interface alone.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    mark, folder = secrets.token_hex(16), _folder()
    watchdog = _watchdog(mark, folder)

    def start() -> None:
        os.environ[ray_watchdog.VARIABLE] = mark  # Ray's processes inherit it
        try:
            _initialise(
                address="local",  # else RAY_ADDRESS would name another one
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=folder,
                # They would be started without the job's working directory, and so in vain.
                _system_config={"prestart_worker_first_driver": False},
            )
        finally:
            del os.environ[ray_watchdog.VARIABLE]
        _tell(watchdog, ray_watchdog.STARTED)

    try:
        return Connection(start, stopped, after=functools.partial(_dismiss, watchdog))
    except VEvolveError:
        raise
    except Exception as error:
        raise WorkerFailure(f"Ray does not start on this machine: {first_line(error)} Try --workers inline.") from error


def join_cluster(address: str, stopped: Stop = never) -> Connection:
    """Join the cluster that runs at `address`: `auto`, `HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        BadInput: none answers there within `JOIN_S`, or it refuses us.
        Stopped: the user asked for it.
    """
    target = _target(address)
    if _on_loopback_alone(target):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # else Ray looks elsewhere, see there
    _probe(address, target, stopped)
    try:
        return Connection(functools.partial(_initialise, address=target), stopped, seconds=JOIN_S)
    except VEvolveError:
        raise
    except Exception as error:
        raise BadInput(f"No Ray cluster can be joined at '{address}': {first_line(error)}") from error


def _initialise(**options: Any) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray._private import worker

    # Ray prints what its daemons report, such as 20 lines of their logs at an unexpected end, whatever
    # `log_to_driver` says. They stand in Ray's own logs, and what concerns a run is raised.
    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = False  # pyright: ignore[reportPrivateUsage]
    with tempfile.TemporaryDirectory(prefix="vevolve-") as empty:
        Path(empty, "README").write_text("Nothing here is importable, and that is what it is for.\n")
        ray.init(
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"working_dir": empty},
            **options,
        )


def _target(address: str) -> str:
    """The address that `auto` stands for, where that can be told; Ray looks for running processes else."""
    if address != "auto":
        return address
    current = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    with contextlib.suppress(OSError):
        return os.environ.get("RAY_ADDRESS") or current.read_text().strip() or address
    return address


def _on_loopback_alone(address: str) -> bool:
    """Whether a cluster listens on the loopback interface and not on the machine's outward address.

    Ray takes `127.0.0.1` for the latter, unless it is told that a cluster is of one machine.
    """
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdigit():
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("192.0.2.1", 9))  # sends nothing; tells which address a packet would leave from
        with contextlib.suppress(OSError), socket.create_connection((outward.getsockname()[0], int(port)), 1.0):
            return False
    return True


def _probe(address: str, target: str, stopped: Stop) -> None:
    command = [sys.executable, "-P", ray_probe.__file__, target]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as noise, _killed(command, said, noise) as process:
        deadline = time.monotonic() + JOIN_S
        while process.poll() is None:
            check(stopped)
            _refuse_unauthenticated(address, _text(noise))
            if time.monotonic() > deadline:
                raise BadInput(
                    f"No Ray cluster answers at '{address}' within {JOIN_S:.0f} s. Check the address and that the "
                    "cluster runs (`ray status`), or leave out --ray-address."
                )
            time.sleep(PAUSE_S)
        noisy = _text(noise)
        _refuse_unauthenticated(address, noisy)
        try:
            error = json.loads(_text(said)).get("error")
        except ValueError:
            error = noisy.strip().rpartition("\n")[2] or f"Ray ended with code {process.returncode}"
    if error is None:
        return
    _refuse_unauthenticated(address, error)
    if "grpc" in error or "ray[client]" in error:
        raise BadInput(
            f"'{address}' needs Ray's client, which is not installed: pip install 'ray[client]'; or run on a machine "
            "of the cluster and give HOST:PORT or auto."
        )
    raise BadInput(
        f"No Ray cluster can be joined at '{address}': {first_line(error)} Check the address and that the cluster "
        "runs (`ray status`), or leave out --ray-address."
    )


@contextlib.contextmanager
def _killed(command: list[str], said: Any, noise: Any) -> Generator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block."""
    # A session of its own: Ctrl-C is ours to answer.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=noise, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _text(file: Any) -> str:
    return os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")


def _refuse_unauthenticated(address: str, text: str) -> None:
    if "Unauthenticated" in text or "InvalidAuthToken" in text or "authentication token" in text:
        raise BadInput(
            f"The Ray cluster at '{address}' asks for its token and was given none, or a wrong one: set "
            "RAY_AUTH_MODE=token, with the cluster's token in ~/.ray/auth_token, RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN."
        )


def first_line(error: object) -> str:
    """The first line of what Ray says, as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0][:300].rstrip(".:") if lines else type(error).__name__
    return f"{text}."


def _folder() -> str:
    """A new folder for a cluster's sockets and logs, where Ray would have its own, if a socket's path can be there."""
    for place in (Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()).absolute(), Path(tempfile.gettempdir())):
        if len(os.fsencode(place)) <= LONGEST_PLACE and place.is_dir():
            return tempfile.mkdtemp(prefix="ve-", dir=place)
    return tempfile.mkdtemp(prefix="ve-", dir="/tmp")


def _watchdog(mark: str, folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", ray_watchdog.__file__, mark, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _tell(watchdog: subprocess.Popen[bytes], line: bytes) -> None:
    if watchdog.stdin is not None:
        with contextlib.suppress(OSError):  # somebody killed it
            watchdog.stdin.write(line)
            watchdog.stdin.flush()


def _dismiss(watchdog: subprocess.Popen[bytes]) -> None:
    _tell(watchdog, ray_watchdog.DONE)
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        watchdog.communicate(timeout=5.0)
