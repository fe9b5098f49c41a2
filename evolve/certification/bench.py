"""Where documents are examined: in this process, or in several, each with its own model and sandbox.

One thread each: sums are then taken in the same order everywhere, so that a document that is examined again gives the
same outcome, and several processes are faster than several threads.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import multiprocessing
import os
import platform
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

from vevolve import __version__
from vevolve.errors import WorkerFailure
from vevolve.evaluators.contract import Certifier, Problem, Sealed, Sealing, load
from vevolve.evolve.certification.attempt import Fault, Setting
from vevolve.evolve.workers import Container
from vevolve.types import Candidate, CandidateFault, Seed

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Bench:
    """Examines documents in this process.

    Args:
        problem: what candidates are examined for.
        problem_name: by which it is loaded.
        contain: opens the container.
    """

    def __init__(self, problem: Problem, problem_name: str, contain: Callable[[], Container]) -> None:
        self._problem, self._name, self._contain = problem, problem_name, contain
        self._container: Container | None = None
        self._certifiers: dict[tuple[str, Sealing], Certifier] = {}

    def setting(self, candidate: Candidate, sealing: Sealing) -> Setting:
        """What an attempt will take place with. Loads the model and opens the container."""
        return Setting(
            problem=self._name,
            problem_hash=self._problem.hash,
            point=self._problem.sealing_point(candidate, sealing),
            generator=self._certifier(candidate, sealing).generator,
            versions=versions(),
            containment=self._open().containment,
        )

    def document(self, candidate: Candidate, sealing: Sealing, key: Seed) -> Sealed | Fault:
        """One document."""
        certifier = self._certifier(candidate, sealing)
        try:
            return certifier.examine(self._open().subject(candidate), key)
        except CandidateFault as fault:
            return Fault(status=fault.status, feedback=fault.feedback)

    def examine(self, candidate: Candidate, sealing: Sealing, keys: Iterable[Seed]) -> Iterator[Sealed | Fault]:
        """The documents one after another."""
        for key in keys:
            yield self.document(candidate, sealing, key)

    def close(self) -> None:
        """End the container."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> Container:
        if self._container is None:
            self._container = self._contain()
        return self._container

    def _certifier(self, candidate: Candidate, sealing: Sealing) -> Certifier:
        key = candidate.id, sealing
        if key not in self._certifiers:
            self._certifiers[key] = self._problem.certifier(candidate, sealing)
        return self._certifiers[key]


class Benches:
    """Examines documents in processes of their own; a context manager.

    Args:
        problem_name: what `vevolve.evaluators.contract.load` takes.
        processes: how many.
        allow_degraded: run below the sandbox's minimum level.
    """

    def __init__(self, problem_name: str, processes: int, *, allow_degraded: bool = False) -> None:
        self._ahead = processes
        self._pool = ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(problem_name, allow_degraded),
        )

    def setting(self, candidate: Candidate, sealing: Sealing) -> Setting:
        """As `Bench.setting`."""
        with _one_thread():
            return self._pool.submit(_setting, candidate, sealing).result()

    def examine(self, candidate: Candidate, sealing: Sealing, keys: Iterable[Seed]) -> Iterator[Sealed | Fault]:
        """The documents in order, a few of them examined ahead; what is not asked for any more is dropped."""
        waiting: deque[Future[Sealed | Fault]] = deque()
        try:
            with _one_thread():
                for key in keys:
                    waiting.append(self._pool.submit(_document, candidate, sealing, key))
                    if len(waiting) > self._ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerFailure(
                "A process that examined a document ended by itself, maybe for want of memory; try fewer --workers."
            ) from error
        finally:
            for left in waiting:
                left.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def versions() -> dict[str, str]:
    """Of what takes part in an examination."""
    found = {"vevolve": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in ("torch", "transformers", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


_HERE: list[Bench] = []
"""The bench of a process of `Benches`."""


def _start(problem_name: str, allow_degraded: bool) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that was asked decides
    problem = load(problem_name)

    def contain() -> Container:
        from vevolve.sandbox import Sandbox

        return Sandbox(arrays=problem.arrays, allow_degraded=allow_degraded)

    _HERE[:] = [Bench(problem, problem_name, contain)]


def _setting(candidate: Candidate, sealing: Sealing) -> Setting:
    return _HERE[0].setting(candidate, sealing)


def _document(candidate: Candidate, sealing: Sealing, key: Seed) -> Sealed | Fault:
    return _HERE[0].document(candidate, sealing, key)


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    """Processes that start meanwhile compute with one thread: libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
