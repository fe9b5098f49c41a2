"""Workers as Ray actors: each hosts the verifier side and spawns its sandbox by exec, never by fork.

Ray puts the driver's working directory and the folder of its script first on every worker's `sys.path`, unless the
job names a working directory of its own. From a checkout's root that would make folders such as `kernels` importable
by the wrong name, so the job is given an empty one.

Ray is imported only here, and only once workers are opened.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from vevolve.errors import BadInput
from vevolve.evolve.workers import Inline, Job, SandboxOptions, Worker, Workers, inline
from vevolve.types import Containment, Verdict

OBJECT_STORE_BYTES = 100 << 20
"""Jobs and verdicts are small; Ray's own default is a third of the machine's memory."""

Open = Callable[[], Inline]
"""Makes the worker inside an actor. It is pickled by name or value and called there."""


class Host:
    """What runs inside an actor.

    A verifier and its candidate take turns thousands of times in an examination, so both are kept on one core: waking
    a process on another core cost a quarter of the CPU time.
    """

    def __init__(self, make: Open, core: int | None = None) -> None:
        self._make, self._core = make, core

    def open(self) -> Containment:
        """Start the worker. Not in the constructor, where Ray would hide what was raised."""
        if self._core is not None:
            os.sched_setaffinity(0, {self._core})
        self._worker = self._make()
        return self._worker.open()

    def examine(self, job: Job) -> Verdict:
        """The verdict of one job."""
        return self._worker.examine(job)


class Actor:
    """A worker whose verifier lives in a Ray actor, on one core of this machine where `core` names it."""

    def __init__(self, make: Open, core: int | None = None) -> None:
        self._make, self._core = make, core
        self._actor: Any = None

    def start(self) -> None:
        """Ask for the actor; several start side by side."""
        import ray

        remote: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Host)
        self._actor = remote.remote(self._make, self._core)

    def open(self) -> Containment:
        """Wait for the actor, or for a new one in place of one that failed."""
        if self._actor is None:
            self.start()
        actor: Any = self._actor
        self._actor = None
        try:
            containment: Containment = _get(actor.open.remote())
        except BaseException:
            _kill(actor)
            raise
        self._actor = actor
        return containment

    def examine(self, job: Job) -> Verdict:
        """The verdict from the actor. An actor that fails is ended, so that `open` starts another."""
        actor = self._actor
        try:
            verdict: Verdict = _get(actor.examine.remote(job))
        except BaseException:
            self.close()
            raise
        return verdict

    def close(self) -> None:
        """End the actor."""
        actor, self._actor = self._actor, None
        if actor is not None:
            _kill(actor)


def open_actors(count: int, problem: str, options: SandboxOptions, *, address: str | None = None) -> Workers:
    """So many actors, on a cluster that runs at `address` or on one started for them."""
    return open_hosts(count, functools.partial(inline, problem, options), address=address)


def open_hosts(count: int, make: Open, *, address: str | None = None) -> Workers:
    """So many actors, each with the worker that `make` returns.

    Raises:
        BadInput: no cluster answers at `address`.
    """
    started = _join(count, address)
    # Which cores are free on the machines of a cluster that was there before is not known.
    cores = sorted(os.sched_getaffinity(0)) if started and address is None else [None]
    actors = [Actor(make, core) for core in itertools.islice(itertools.cycle(cores), count)]
    for actor in actors:
        actor.start()
    workers: list[Worker] = list(actors)
    return Workers(workers, shutdown=_leave if started else lambda: None)


def _join(count: int, address: str | None) -> bool:
    """Connect to a cluster; True where this call did so and must undo it."""
    if address is None:
        # Read when Ray is imported. In spite of its name it decides on Linux too whether a cluster of one machine
        # listens on the loopback interface alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return False
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
    with _signals_kept(), tempfile.TemporaryDirectory(prefix="vevolve-") as empty:
        Path(empty, "README").write_text("Nothing here is importable, and that is what it is for.\n")
        common["runtime_env"] = {"working_dir": empty}
        if address is None:
            ray.init(
                num_cpus=count,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                # They would be started without the job's working directory, and so in vain.
                _system_config={"prestart_worker_first_driver": False},
                **common,
            )
            return True
        try:
            ray.init(address=address, **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise BadInput(f"No Ray cluster answers at '{address}': {str(error).splitlines()[0]}") from error
    return True


@contextlib.contextmanager
def _signals_kept() -> Generator[None]:
    """Leave SIGTERM as it is. Ray's own handler prints stack traces and skips the orderly end of a run."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _leave() -> None:
    import ray

    ray.shutdown()


def _get(reference: Any) -> Any:
    """An actor's answer; what it raised arrives as the error it was there."""
    import ray
    from ray.exceptions import RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            raise cause from error
        raise


def _kill(actor: Any) -> None:
    import ray

    with contextlib.suppress(ValueError, RuntimeError):  # Ray may be gone already
        ray.kill(actor, no_restart=True)
