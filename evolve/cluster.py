"""Workers as Ray actors: each hosts the verifier side and spawns its sandbox by exec, never by fork.

Ray puts the driver's working directory and the folder of its script first on every worker's `sys.path`, unless the
job names a working directory of its own. From a checkout's root that would make folders such as `kernels` importable
by the wrong name, so the job is given an empty one (`vevolve.evolve.connection`).

The actors of a run take their CPUs together, as one placement group: two drivers that share a cluster never hold half
each and wait for the other, and an actor that is replaced finds its CPU still free.

Ray is imported only in this module, in `connection` and in `ray_probe`, and only once workers are opened.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import vevolve
from vevolve.errors import BadInput, VEvolveError, WorkerFailure
from vevolve.evaluators.contract import load
from vevolve.evolve import connection
from vevolve.evolve.connection import PAUSE_S, Stop, check, first_line, never
from vevolve.evolve.workers import Inline, Job, Meeting, SandboxOptions, Worker, Workers, inline
from vevolve.types import Containment, Verdict

PLACE_S = 30.0
"""For the cluster to set the CPUs aside; where others keep them longer, the user is told."""

START_S = 120.0
"""For an actor's process to start and import what it needs, on a machine that is busy with other work."""

Open = Callable[[], Inline]
"""Makes the worker inside an actor. It is pickled by name or value and called there."""


@dataclass(frozen=True)
class Opened:
    """What an actor says of itself once its worker is open.

    Attributes:
        containment: the layers that hold there.
        problem: the hash of the problem as it stands there.
        version: of the vEvolve that is installed there.
        machine: the name of the machine.
    """

    containment: Containment
    problem: str
    version: str
    machine: str


class Host:
    """What runs inside an actor.

    A verifier and its candidate take turns thousands of times in an examination, so both are kept on one core: waking
    a process on another core cost a quarter of the CPU time.
    """

    def __init__(self, make: Open, core: int | None = None) -> None:
        self._make, self._core = make, core

    def ready(self) -> None:
        """Answers once the process runs."""

    def open(self) -> Opened:
        """Start the worker. Not in the constructor, where Ray would hide what was raised."""
        if self._core is not None:
            os.sched_setaffinity(0, {self._core})
        machine = socket.gethostname()
        try:
            self._worker = self._make()
        except VEvolveError as error:
            # Some of these cannot be pickled, so it is told in words.
            raise WorkerFailure(
                f"The worker on {machine} cannot load the problem: {error} A problem's folder must stand at the same "
                "path on every machine of the cluster."
            ) from None
        return Opened(self._worker.open(), self._worker.problem.hash, vevolve.__version__, machine)

    def examine(self, job: Job) -> Verdict:
        """The verdict of one job."""
        return self._worker.examine(job)

    def meet(self, meeting: Meeting) -> tuple[Verdict, Verdict]:
        """The verdicts on two programs."""
        return self._worker.meet(meeting)


class Actor:
    """A worker whose verifier lives in a Ray actor.

    Args:
        make: makes the worker there.
        core: the core of this machine that it is kept on; None: any.
        group: the placement group that holds its CPU.
        problem: the hash that the problem must have there; None: any.
        stopped: whether to give up waiting.
    """

    def __init__(
        self,
        make: Open,
        core: int | None = None,
        *,
        group: Any = None,
        problem: str | None = None,
        stopped: Stop = never,
    ) -> None:
        self._make, self._core, self._group, self._problem, self._stopped = make, core, group, problem, stopped
        self._actor: Any = None

    def start(self) -> None:
        """Ask for the actor; several start side by side."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        options: dict[str, Any] = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0}
        if self._group is not None:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group)
        self._actor = ray.remote(**options)(Host).remote(self._make, self._core)

    def open(self) -> Containment:
        """Wait for the actor, or for a new one in place of one that failed."""
        if self._actor is None:
            self.start()
        actor: Any = self._actor
        self._actor = None
        try:
            _get(actor.ready.remote(), self._stopped, START_S)
            opened: Opened = _get(actor.open.remote(), self._stopped)
            self._compare(opened)
        except BaseException:
            _kill(actor)
            raise
        self._actor, self._stopped = actor, never  # once open, what is in flight is finished
        return opened.containment

    def examine(self, job: Job) -> Verdict:
        """The verdict from the actor. An actor that fails is ended, so that `open` starts another."""
        verdict: Verdict = self._answer("examine", job)
        return verdict

    def meet(self, meeting: Meeting) -> tuple[Verdict, Verdict]:
        """The verdicts from the actor, as `examine`."""
        verdicts: tuple[Verdict, Verdict] = self._answer("meet", meeting)
        return verdicts

    def close(self) -> None:
        """End the actor."""
        actor, self._actor = self._actor, None
        if actor is not None:
            _kill(actor)

    def _answer(self, method: str, what: Job | Meeting) -> Any:
        try:
            return _get(getattr(self._actor, method).remote(what), never)
        except BaseException:
            self.close()
            raise

    def _compare(self, opened: Opened) -> None:
        """Refuse a machine that would judge by other rules: its verdicts would not compare."""
        if opened.version != vevolve.__version__:
            raise WorkerFailure(
                f"The worker on {opened.machine} has vEvolve {opened.version}, this process {vevolve.__version__}; "
                "install the same version on every machine of the cluster."
            )
        if self._problem is not None and opened.problem != self._problem:
            raise WorkerFailure(
                f"The problem differs on {opened.machine} (hash {opened.problem[:12]}, here {self._problem[:12]}), so "
                "verdicts would not compare; install the same files on every machine of the cluster."
            )


def open_actors(
    count: int | None,
    problem: str,
    options: SandboxOptions,
    *,
    address: str | None = None,
    most: int | None = None,
    stopped: Stop = never,
) -> Workers:
    """Actors for a problem, on a cluster that runs at `address` or on one started for them.

    Args:
        count: how many; None for one on each core that is free, but no more than `most`.
        problem: as `vevolve.evaluators.contract.load` takes it, on every machine of the cluster.
        options: of each worker's sandbox.
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`.
        most: how many would be of use.
        stopped: asked while waiting; what makes it true is answered by `Stopped`.

    Raises:
        BadInput: no cluster answers at `address`, or it has fewer CPUs than workers were asked for.
        WorkerFailure: its CPUs stay busy, or its machines lack vEvolve or the problem, or have others.
        SandboxUnavailable: a machine cannot contain candidates.
        Stopped: the user asked for it.
    """
    make = functools.partial(inline, problem, options)
    expected = load(problem).hash
    return open_hosts(count, make, address=address, most=most, problem=expected, stopped=stopped)


def open_hosts(
    count: int | None,
    make: Open,
    *,
    address: str | None = None,
    most: int | None = None,
    problem: str | None = None,
    stopped: Stop = never,
) -> Workers:
    """Actors with the worker that `make` returns; see `open_actors`.

    Args:
        problem: the hash that the problem must have on every machine; None: any.
    """
    cores = sorted(os.sched_getaffinity(0))
    connected = _is_connected()
    own = address is None and not connected
    name = f"The Ray cluster at '{address}'" if address else "The Ray cluster in use"
    leave: Callable[[], None] = _nothing
    if own:
        count = count or min(len(cores), most or len(cores))
        leave = connection.start_cluster(count, stopped).close
    elif address is not None and not connected:
        leave = connection.join_cluster(address, stopped).close
    try:
        count = count if own and count else _fitting(count, most, name)
        group = _reserve(count, name, stopped)
    except BaseException:
        leave()
        raise
    # Which cores are free on the machines of a cluster that was there before is not known.
    places = itertools.islice(itertools.cycle(cores if own else [None]), count)
    actors = [Actor(make, core, group=group, problem=problem, stopped=stopped) for core in places]
    for actor in actors:
        actor.start()
    workers: list[Worker] = list(actors)
    return Workers(workers, shutdown=functools.partial(_release, group, leave))


def _nothing() -> None:
    """Leaves a connection as it is."""


def _is_connected() -> bool:
    """Whether this process has connected to Ray by itself. Ray is not imported for the question."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _fitting(count: int | None, most: int | None, name: str) -> int:
    """How many workers a cluster that ran before is asked for."""
    cpus, free = _cpus()
    if cpus < 1 or (count is not None and count > cpus):
        asked = "at least one worker needs a CPU" if count is None else f"{count} workers were asked for"
        cure = f"Give --workers {cpus} or fewer, or" if cpus else "Start it with --num-cpus, or"
        raise BadInput(f"{name} has {cpus} CPUs, and {asked}, each on a CPU of its own. {cure} add machines.")
    if count is not None:
        return count
    return max(1, min(free, most or free))


def _cpus() -> tuple[int, int]:
    """The CPUs of the cluster, and those that are free now."""
    import ray

    api: Any = ray
    return int(api.cluster_resources().get("CPU", 0)), int(api.available_resources().get("CPU", 0))


def _reserve(count: int, name: str, stopped: Stop) -> Any:
    """A placement group with a CPU for each worker."""
    from ray.util.placement_group import placement_group

    group = placement_group([{"CPU": 1.0}] * count)
    deadline = time.monotonic() + PLACE_S
    while not group.wait(PAUSE_S):
        try:
            check(stopped)
            if time.monotonic() > deadline:
                cpus, free = _cpus()
                cure = f"give --workers {free}, or wait" if free else "wait"
                raise WorkerFailure(
                    f"{name} has {cpus} CPUs, but only {free} of them were free for {count} workers during "
                    f"{PLACE_S:.0f} s: {cure} until others have finished."
                )
        except BaseException:
            _release(group, _nothing)
            raise
    return group


def _release(group: Any, leave: Callable[[], None]) -> None:
    """Give the CPUs back, then leave the cluster."""
    from ray.util.placement_group import remove_placement_group

    with contextlib.suppress(Exception):  # the cluster may be gone already
        remove_placement_group(group)
    leave()


def _get(reference: Any, stopped: Stop, seconds: float | None = None) -> Any:
    """An actor's answer; what it raised arrives as the error it was there.

    Raises:
        Stopped: the user asked for it.
        WorkerFailure: the actor's process is gone, never came, or cannot import what it needs.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError

    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        try:
            return ray.get(reference, timeout=PAUSE_S)
        except GetTimeoutError:
            check(stopped)
            if deadline is not None and time.monotonic() > deadline:
                raise WorkerFailure(f"A worker's process did not start within {seconds:.0f} s.") from None
        except RayTaskError as error:
            cause = getattr(error, "cause", None)
            if "failed to import on the worker" in str(cause):
                raise _unimportable(cause) from error
            if isinstance(cause, Exception):
                raise cause from error
            raise
        except RayError as error:
            raise _lost(error) from error


def _unimportable(cause: object) -> WorkerFailure:
    lines = [line.strip() for line in str(cause).splitlines() if "Error:" in line]
    return WorkerFailure(
        f"A machine of the Ray cluster cannot import vEvolve ({lines[-1][:200] if lines else first_line(cause)}): "
        f"install vevolve {vevolve.__version__} in the Python that Ray runs on, on every machine of the cluster."
    )


def _lost(error: Exception) -> WorkerFailure:
    """What Ray says of a dead process in many lines, in one."""
    from ray.exceptions import OutOfMemoryError, RuntimeEnvSetupError

    if "creation task" in str(error):  # its constructor keeps its arguments and no more, so it was the unpickling
        return _unimportable(error)
    if isinstance(error, RuntimeEnvSetupError):
        return WorkerFailure(f"Ray cannot prepare a worker's process: {first_line(error)}")
    if isinstance(error, OutOfMemoryError) or "memory pressure" in str(error):
        return WorkerFailure("Ray ended a worker's process, since its machine ran out of memory; take fewer workers.")
    return WorkerFailure(
        f"A worker's process was lost ({type(error).__name__}): killed from outside, out of memory, or its machine is "
        "gone."
    )


def _kill(actor: Any) -> None:
    import ray

    with contextlib.suppress(Exception):  # Ray may be gone already
        ray.kill(actor, no_restart=True)
