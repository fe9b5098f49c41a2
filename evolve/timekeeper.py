"""Who times what a run promotes: a process of its own beside the driver, so that no thread of this one is in the times.

`python -m vevolve.evolve.timekeeper PROBLEM` reads one question a line and answers each with one line of JSON. It draws
the workload once, from a key that no program knows, and holds the GPU only while it times.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from vevolve.archive.events import Latency, Started
from vevolve.errors import ArchiveError, BadInput, SandboxUnavailable, WorkerFailure
from vevolve.evaluators import latency
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.latency import FAMILY, Measurement
from vevolve.evolve import stopwatch
from vevolve.types import Candidate

TRIES = 2
"""A harness that broke is started once more; a second failure ends the run."""
MEMORY = 4096
"""Bytes of what the process said that are told where it broke."""


class Timekeeper(Protocol):
    """Times programs, one at a time."""

    @property
    def latency(self) -> Latency:
        """What it measures, and on what."""
        ...

    def time(self, candidate: Candidate, incumbent: Candidate) -> Measurement:
        """Time both in turn. Raises where the harness is broken; what programs do wrong is part of what is found."""
        ...

    def close(self) -> None:
        """End it, also while it times."""
        ...


Open: TypeAlias = Callable[[Problem, str, bool | None, bool], Timekeeper | None]
"""Of a problem, the name by which it is loaded, whether latency is wanted (None: where there is a GPU), and whether the
sandbox may be below its minimum level."""


def open_timekeeper(problem: Problem, name: str, wanted: bool | None, allow_degraded: bool) -> Timekeeper | None:
    """This machine's timekeeper; None where latency is not wanted, or cannot be measured and need not be.

    Raises:
        BadInput: latency is wanted, and the problem has none.
        SandboxUnavailable: latency is wanted, and there is no GPU.
    """
    if wanted is False:
        return None
    objectives = latency.objectives(problem)
    if not objectives:
        if wanted:
            raise BadInput(f"Programs of {problem.name} cannot be timed: the problem has no latency stage.")
        return None
    if why := stopwatch.absent():
        if wanted:
            raise SandboxUnavailable(f"Latency cannot be measured: {why}. Leave out --latency.")
        return None
    told = Latency(
        family=FAMILY,
        objectives=objectives,
        gpu=stopwatch.name(),
        version=latency.VERSION,
        protocol=latency.protocol(),
    )
    return Beside(name, told, allow_degraded)


def agreed(started: Started, found: Timekeeper | None, name: str, why: str) -> Timekeeper | None:
    """The timekeeper with which a run goes on: one that measures as it was measured from the start.

    Args:
        started: how the run began.
        found: what this machine gives.
        name: the run's.
        why: this machine gives none.

    Raises:
        ArchiveError: times would be missing, or would not compare.
    """
    began = started.latency
    if began is None:
        return None
    if found is None:
        raise ArchiveError(
            f"The run '{name}' times what it promotes on a GPU ({began.gpu}), and nothing can be timed here: "
            f"{why or 'it was not asked for'}. Resume it where it began."
        )
    here = found.latency
    if here.gpu != began.gpu:
        raise ArchiveError(
            f"The run '{name}' was timed on {began.gpu}, and this machine has {here.gpu}: times would not compare. "
            "Resume it where it began, or start a new run."
        )
    if (here.version, here.protocol, here.objectives) != (began.version, began.protocol, began.objectives):
        raise ArchiveError(
            f"The protocol of latency has changed since the run '{name}' began (hash {here.protocol[:12]}, was "
            f"{began.protocol[:12]}): times would not compare. Start a new run."
        )
    return found


class Beside:
    """A timekeeper in a process of its own, which is started with the first question.

    Args:
        problem: the name by which the problem is loaded.
        latency: what is measured.
        allow_degraded: go on where the sandbox is below its minimum level.
    """

    def __init__(self, problem: str, latency: Latency, allow_degraded: bool) -> None:
        self._problem, self.latency, self._allow_degraded = problem, latency, allow_degraded
        self._process: subprocess.Popen[str] | None = None
        self._said: Any = None
        self._lock = threading.Lock()
        self._closed = False

    def time(self, candidate: Candidate, incumbent: Candidate) -> Measurement:
        """Ask the process; one that broke is started once more. Raises `WorkerFailure`."""
        question = json.dumps({"candidate": _packed(candidate), "incumbent": _packed(incumbent)})
        for attempt in range(1, TRIES + 1):
            try:
                return Measurement.model_validate_json(self._asked(question))
            except (OSError, ValueError) as error:
                said = self._ended()
                if attempt == TRIES or self._closed:
                    raise WorkerFailure(
                        f"Candidate {candidate.id[:8]} could not be timed, tried twice: {said or error} (A run that is "
                        "begun with --no-latency times nothing.)"
                    ) from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the process."""
        self._closed = True
        with self._lock:
            process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _asked(self, question: str) -> str:
        with self._lock:
            if self._closed:
                raise OSError("the run has ended")
            if self._process is None:
                self._said = tempfile.TemporaryFile("w+b")  # noqa: SIM115
                words = [sys.executable, "-P", "-m", "vevolve.evolve.timekeeper", self._problem]
                self._process = subprocess.Popen(
                    [*words, *(["--allow-degraded"] if self._allow_degraded else [])],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._said,
                    text=True,
                    start_new_session=True,  # a Ctrl-C is for the driver, which ends it
                )
            process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(question + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise OSError("its process ended")
        return answer

    def _ended(self) -> str:
        """End what broke. Returns the last line that it said."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return ""
        process.kill()
        process.wait()
        self._said.seek(0)
        lines = self._said.read()[-MEMORY:].decode("utf-8", "replace").strip().splitlines()
        self._said.close()
        return str(lines[-1]) if lines else ""


def _packed(candidate: Candidate) -> dict[str, str | None]:
    params = candidate.params
    return {"source": candidate.source, "params": None if params is None else base64.b64encode(params).decode()}


def _unpacked(told: Mapping[str, str | None]) -> Candidate:
    params = told["params"]
    return Candidate(told["source"] or "", None if params is None else base64.b64decode(params))


def main(arguments: list[str]) -> None:
    """Answer questions until there are no more."""
    # Whatever a library prints must not be read as an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    problem = load(arguments[0])
    device = stopwatch.gpu(allow_degraded="--allow-degraded" in arguments)
    with contextlib.closing(latency.ground(problem, device)) as ground:
        for line in sys.stdin:
            asked = json.loads(line)
            found = ground.measure(_unpacked(asked["candidate"]), _unpacked(asked["incumbent"]))
            answers.write(found.model_dump_json() + "\n")
            answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
