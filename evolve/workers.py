"""Workers host the verifier side: each owns a problem and a sandbox, and examines one candidate at a time.

`inline` keeps the one worker in a thread of this process; otherwise each is a Ray actor (`vevolve.evolve.cluster`).
A worker whose harness breaks (not its candidate) is opened anew and the job tried once more; a second failure is
raised, since a number from a broken harness must not reach the archive.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from vevolve.errors import SandboxUnavailable, WorkerFailure
from vevolve.evaluators import fresh
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.examination import examine
from vevolve.evaluators.fresh import Fresh
from vevolve.evolve.threads import Threads
from vevolve.types import Candidate, Containment, Level, Seed, Subject, Value, Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One examination on stages of the cascade.

    Attributes:
        candidate: the program.
        seed: the randomness of the examination.
        promotion: on the stages that decide promotion, not on those of the search.
    """

    candidate: Candidate
    seed: Seed
    promotion: bool = False


@dataclass(frozen=True)
class Meeting:
    """Two programs on one fresh document, which brings its own randomness in its key.

    Attributes:
        candidate: the challenger.
        incumbent: the other.
        fresh: which document.
        claims: labels of the operating points at which the challenger is examined.
    """

    candidate: Candidate
    incumbent: Candidate
    fresh: Fresh
    claims: tuple[str, ...]


class SandboxOptions(Value):
    """How a worker contains candidates."""

    minimum: Level = "L1"
    allow_degraded: bool = False


class Container(Protocol):
    """What makes a subject of a candidate: `vevolve.sandbox.Sandbox`, or a plain one in tests."""

    containment: Containment

    def subject(self, candidate: Candidate) -> Subject:
        """The handle through which a candidate is called."""
        ...

    def close(self) -> None:
        """End every process."""
        ...


class Worker(Protocol):
    """Does one thing at a time."""

    def open(self) -> Containment:
        """Start, or start anew after a failure; say which layers hold."""
        ...

    def examine(self, job: Job) -> Verdict:
        """The verdict. Raises only where the harness is broken."""
        ...

    def meet(self, meeting: Meeting) -> tuple[Verdict, Verdict]:
        """The verdicts on the challenger and on the incumbent. Raises only where the harness is broken."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Inline:
    """A worker in this process.

    Args:
        problem: what candidates are examined for.
        contain: opens the container; by default a sandbox for the problem's arrays.
    """

    def __init__(self, problem: Problem, contain: Callable[[], Container]) -> None:
        self.problem = problem
        self._contain = contain
        self._container: Container | None = None

    def open(self) -> Containment:
        """Start a container in place of any earlier one."""
        self.close()
        self._container = self._contain()
        return self._container.containment

    def examine(self, job: Job) -> Verdict:
        """Walk the stages of one candidate."""
        return examine(self.problem, self._subject(job.candidate), job.seed, promotion=job.promotion)

    def meet(self, meeting: Meeting) -> tuple[Verdict, Verdict]:
        """Examine both on one fresh document, in processes of their own."""
        challenger, incumbent = self._subject(meeting.candidate), self._subject(meeting.incumbent)
        return fresh.meet(self.problem, challenger, incumbent, meeting.fresh, meeting.claims)

    def close(self) -> None:
        """End the container."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _subject(self, candidate: Candidate) -> Subject:
        if self._container is None:
            raise RuntimeError("the worker is not open")
        return self._container.subject(candidate)


class Workers:
    """A fixed set of workers that share one queue of jobs.

    Raises from the constructor:
        SandboxUnavailable: a worker cannot contain candidates, or two do so at different levels.
    """

    def __init__(self, workers: Sequence[Worker], shutdown: Callable[[], None] = lambda: None) -> None:
        self._workers = list(workers)
        self._shutdown = shutdown
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._threads = Threads(len(self._workers), "examine")
        self._closed = threading.Event()
        try:
            found = [worker.open() for worker in self._workers]
        except BaseException:
            self.close()
            raise
        levels = sorted({containment.level for containment in found})
        if len(levels) > 1:
            self.close()
            raise SandboxUnavailable(
                f"Workers contain candidates at different levels ({', '.join(levels)}); one archive takes one level. "
                "Use machines that are set up alike."
            )
        self.containment = found[0]
        for worker in self._workers:
            self._idle.put(worker)

    def __len__(self) -> int:
        """How many jobs run at once."""
        return len(self._workers)

    def submit(self, job: Job) -> Future[Verdict]:
        """Examine when a worker is free; the future raises what broke the harness twice."""
        return self._threads.submit(lambda: self._on_a_worker([job.candidate], lambda worker: worker.examine(job)))

    def meet(self, meeting: Meeting) -> Future[tuple[Verdict, Verdict]]:
        """Examine two programs on one document when a worker is free, as `submit`."""
        both = [meeting.candidate, meeting.incumbent]
        return self._threads.submit(lambda: self._on_a_worker(both, lambda worker: worker.meet(meeting)))

    def close(self) -> None:
        """End the workers and what they hold. Jobs not begun are dropped."""
        self._closed.set()
        self._threads.close()
        for worker in self._workers:
            worker.close()
        self._shutdown()

    def _on_a_worker(self, candidates: Sequence[Candidate], work: Callable[[Worker], T]) -> T:
        worker = self._idle.get()
        try:
            try:
                return work(worker)
            except Exception:
                if self._closed.is_set():
                    raise
            reopened = worker.open()
            if reopened.level != self.containment.level:
                raise SandboxUnavailable(
                    f"A worker that was opened anew contains candidates at level {reopened.level}, the others at "
                    f"{self.containment.level}; one archive takes one level. Check the machine, then resume."
                )
            try:
                return work(worker)
            except WorkerFailure as error:
                names = " or ".join(candidate.id[:8] for candidate in candidates)
                raise WorkerFailure(f"Candidate {names} could not be examined, tried twice: {error}") from error
        finally:
            self._idle.put(worker)


def open_workers(
    kind: int | Literal["inline"] | None,
    problem: str,
    options: SandboxOptions | None = None,
    *,
    ray_address: str | None = None,
    most: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Workers:
    """Open workers for a problem, named as `vevolve.evaluators.contract.load` takes it.

    Args:
        kind: a number of Ray actors; `inline` for one worker in this process; None for an actor on each free core.
        problem: a shipped name, an entry point, or a folder (absolute, where actors stand in other directories).
        options: of each worker's sandbox.
        ray_address: a running cluster to join: `auto`, `HOST:PORT` or `ray://HOST:PORT`.
        most: how many actors would be of use, where `kind` names no number.
        stopped: asked while actors are waited for; what makes it true is answered by `Stopped`.

    Raises:
        SandboxUnavailable: a machine cannot contain candidates to the level asked for.
        BadInput: no cluster answers at `ray_address`, or it has fewer CPUs than workers were asked for.
        WorkerFailure: actors do not start, or their machines are not set up like this one.
        Stopped: the user asked for it.
    """
    options = options or SandboxOptions()
    if kind == "inline":
        return Workers([inline(problem, options)])
    from vevolve.evolve import cluster

    return cluster.open_actors(kind, problem, options, address=ray_address, most=most, stopped=stopped)


def inline(problem: str, options: SandboxOptions) -> Inline:
    """A worker in this process with the real sandbox, not yet open."""
    loaded = load(problem)

    def contain() -> Container:
        from vevolve.sandbox import Sandbox

        return Sandbox(arrays=loaded.arrays, minimum=options.minimum, allow_degraded=options.allow_degraded)

    return Inline(loaded, contain)
