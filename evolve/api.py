"""The loop as a library: `for event in vevolve.evolve("sparse_decode/vattention", evaluations=50): ...`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import vevolve
from vevolve.archive import Archive
from vevolve.archive.events import Event, Resumed, Started
from vevolve.errors import ArchiveError, BadInput
from vevolve.evolve import stopwatch
from vevolve.evolve.config import KEPT, Config
from vevolve.evolve.limits import Reached, last_config, reached, resume_command
from vevolve.evolve.line import Line
from vevolve.evolve.loop import Loop
from vevolve.evolve.proposers.contract import Prompt
from vevolve.evolve.questions import Questions
from vevolve.evolve.run import RunDirectory, commitment, find_run
from vevolve.evolve.setup import (
    Task,
    Weighted,
    check_keys,
    located,
    open_proposers,
    refuse_unaffordable,
    refuse_unpriced,
    resolve,
    task_of,
)
from vevolve.evolve.timekeeper import Open, Timekeeper, agreed, open_timekeeper
from vevolve.evolve.timings import Due
from vevolve.evolve.workers import Job, SandboxOptions, Workers, open_workers
from vevolve.prompts import Shown
from vevolve.types import Candidate, Seed, Verdict

CALLS = 2
"""Calls that one evaluation may take: an answer, and the repair of one that does not apply."""
OpenWorkers = Callable[[Config, Task, Callable[[], bool]], Workers]
"""How a run gets its workers. The last argument tells whether the user asked to stop; then it raises `Stopped`."""


class Run:
    """A run that evolves while one iterates over it. Made by `start` or `resume`; iterated over once.

    Attributes:
        config: its settings.
        task: its problem and seed.
        directory: where it is kept, from the first event on.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        proposers: Sequence[Weighted],
        directory: RunDirectory,
        *,
        resumed: bool,
        workers: OpenWorkers,
        timekeeper: Timekeeper | None = None,
    ) -> None:
        self.config, self.task, self.directory = config, task, directory
        self._proposers, self._resumed, self._open_workers = proposers, resumed, workers
        self._timekeeper = timekeeper
        self._loop: Loop | None = None
        self._stopped = False

    def __iter__(self) -> Iterator[Event]:
        """Run, yielding each event once it is in the archive, until the budget is spent or `stop` is called.

        Raises:
            ProposerError: a proposer failed for good; everything told so far is kept.
            SandboxUnavailable: candidates cannot be contained to the level asked for.
            WorkerFailure: workers do not start, differ from this process, or died twice at one job.
            Stopped: `stop` was called before the workers were open.
            ArchiveError: the database cannot be written, or another process writes it.
        """
        if self._loop is not None:
            raise BadInput("A run is iterated over once; go on with vevolve.evolve.api.resume(run.directory.path).")
        try:
            check_keys(self._proposers)
            with contextlib.ExitStack() as stack:
                existing = stack.enter_context(Archive.open(self.directory.path, write=True)) if self._resumed else None
                workers = self._open_workers(self.config, self.task, lambda: self._stopped)
                stack.callback(workers.close)
                archive, secret, news = self._begin(workers, existing)
                stack.callback(archive.close)
                if self._timekeeper is not None:
                    stack.callback(self._timekeeper.close)
                self._loop = Loop(
                    archive,
                    secret,
                    self.task.seed,
                    Questions(self.task, self._proposers, self.config.style),
                    workers,
                    self.config,
                    timekeeper=self._timekeeper,
                )
                if self._stopped:
                    self._loop.stop()
                yield news
                yield from self._loop.events()
        finally:
            for weighted in self._proposers:
                weighted.proposer.close()

    @functools.cached_property
    def archive(self) -> Archive:
        """The run's archive, open for reading; it follows the run as it grows.

        Raises:
            ArchiveError: the run has not begun.
        """
        return Archive.open(self.directory.path)

    @property
    def resume_command(self) -> str | None:
        """What to type to go on: to the same totals, and beyond those that are reached. None where no run began."""
        if not self.directory.is_run:
            return None
        return resume_command(self.directory, self.config, self.reached)

    @property
    def reached(self) -> list[Reached]:
        """Which of its totals the run has reached. Raises `ArchiveError` where it has not begun."""
        return reached(self.archive, self.config, self._paid)

    @property
    def finished(self) -> bool:
        """Whether iterating would add nothing: a total is reached, and no examination is due."""
        if not self._resumed or not self.reached:
            return False
        line, due = Line(self.task.problem, self.config), Due()
        for entry in self.archive.events(kinds=("told", "selected", "compared", "measured")):
            line.take(entry.event)
            due.take(entry.event)
        begun = self.archive.totals().iterations or self.archive.records(valid=True, limit=1)
        return bool(begun) and not line.waiting and not (self._timekeeper and due.waiting)

    @property
    def _paid(self) -> bool:
        return any(weighted.proposer.estimate(Prompt(system="", user="")) != 0 for weighted in self._proposers)

    def stop(self) -> None:
        """Ask for nothing more, finish what is in flight, and end. Safe in a signal handler and from any thread.

        So that Ctrl-C ends a run in order: `signal.signal(signal.SIGINT, lambda *_: run.stop())`.
        """
        self._stopped = True
        if self._loop is not None:
            self._loop.stop()

    def _begin(self, workers: Workers, archive: Archive | None) -> tuple[Archive, Seed, Event]:
        """The archive with its first event of this session."""
        containment = workers.containment
        settings = self.config.model_dump(mode="json")
        if archive is None:
            secret = self.directory.make(self.config)
            task = self.task
            started = Started(
                run=self.directory.name,
                version=vevolve.__version__,
                problem=task.problem_name,
                problem_hash=task.problem.hash,
                objectives=task.problem.objectives,
                seed=self.config.seed,
                seed_commitment=commitment(secret),
                config=settings,
                containment=containment,
                latency=self._timekeeper.latency if self._timekeeper else None,
            )
            try:
                return Archive.create(self.directory.path, started), secret, started
            except BaseException:
                self.directory.discard()
                raise
        level = archive.started.containment.level
        if containment.level != level:
            raise ArchiveError(
                f"The run '{self.directory.name}' was measured at containment level {level}, and this machine now "
                f"gives {containment.level}; two levels never mix in one archive. Start a new run, or resume where it "
                "began."
            )
        secret = self.directory.secret()
        if commitment(secret) != archive.started.seed_commitment:
            raise ArchiveError(f"{self.directory.path}/seed.key is not the seed that this run was begun with.")
        resumed = Resumed(version=vevolve.__version__, config=settings, containment=containment)
        self.directory.write_config(self.config, archive)
        archive.append(resumed)
        return archive, secret, resumed


def evolve(
    seed: str | None = None,
    *,
    problem: str | None = None,
    model: str | Sequence[str] | None = None,
    evaluations: int | None = None,
    usd: float | None = None,
    seconds: float | None = None,
    workers: int | Literal["inline"] | None = None,
    directory: str | Path | None = None,
    **settings: Any,
) -> Run:
    """Evolve a program. Iterate over the result to run it.

    What is not given is taken from the environment, from `vevolve.toml`, or from the defaults named here.

    Args:
        seed: a shipped seed, `problem/method`, or the file of a program; by default sparse_decode/vattention.
        problem: the problem's name or folder, where `seed` is a file.
        model: a proposer, or several, each maybe with `=WEIGHT`; by default `offline`.
        evaluations: how many candidates to examine, the seed not counted; by default 100.
        usd: dollars at most; by default no limit.
        seconds: seconds at most; by default no limit.
        workers: Ray actors, or "inline" for none; by default one a core.
        directory: where the run is kept; by default a new one under `runs/`.
        **settings: other fields of `vevolve.evolve.config.Config`.

    Raises:
        VEvolveError: a setting, the problem, the seed or a model is not there or not in order.
    """
    flags = {
        "seed": seed,
        "problem": problem,
        "models": (model,) if isinstance(model, str) else model,
        "evaluations": evaluations,
        "usd": usd,
        "seconds": seconds,
        "workers": workers,
        "directory": None if directory is None else str(directory),
    }
    return start(Config.load({**settings, **flags}))


def start(
    config: Config,
    *,
    workers: OpenWorkers | None = None,
    proposers: Sequence[Weighted] | None = None,
    timekeeper: Open = open_timekeeper,
) -> Run:
    """A new run. Nothing is written before it is iterated over.

    Args:
        config: its settings.
        workers: opens the workers, where they are not those of the settings.
        proposers: where they are not those of the settings.
        timekeeper: opens what times programs, where it is not this machine's GPU.

    Raises:
        VEvolveError: the problem, the seed or a model is not there or not in order.
    """
    task, config = resolve(config), located(config)
    directory = RunDirectory.choose(config, task.problem.name, task.seed_name)
    timed = timekeeper(task.problem, task.problem_name, config.latency, config.allow_degraded)
    proposers = _checked(config, proposers)
    refuse_unaffordable(_first_prompt(task, config), proposers, config)
    return Run(config, task, proposers, directory, resumed=False, workers=workers or _workers, timekeeper=timed)


def resume(
    run: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    workers: OpenWorkers | None = None,
    proposers: Sequence[Weighted] | None = None,
    timekeeper: Open = open_timekeeper,
) -> Run:
    """Go on with a run, to the totals asked for; what is not given stays as it was.

    Args:
        run: a run's directory or name; None for the latest.
        settings: new values of some settings, such as `{"evaluations": 200}`; they go over the environment.
        file: new values of settings as TOML; the environment goes over it.
        workers: see `start`.
        proposers: see `start`.
        timekeeper: see `start`.

    Raises:
        UnknownName: no such run.
        ArchiveError: it cannot be read, the problem has changed since, or it was timed and cannot be here.
    """
    directory = find_run(None if run is None else str(run))
    seed: Candidate | None = None
    with Archive.open(directory.path) as archive:
        started = archive.started
        for record in archive.records(operation="seed", limit=1):
            seed = record.candidate
        last = last_config(archive)
    changed = {key: value for key, value in (settings or {}).items() if value is not None}
    for fixed in KEPT:
        if changed.get(fixed, started.config.get(fixed)) != started.config.get(fixed):
            raise BadInput(f"A run keeps its {fixed}: {started.config.get(fixed)}; start a new run for another.")
    kept = {key: value for key, value in last.items() if key in Config.model_fields}
    config = located(Config.load(changed, file=file, base=kept))
    task = resolve(config) if seed is None else task_of(started.problem, seed, started.seed)
    if task.problem.hash != started.problem_hash:
        raise ArchiveError(
            f"The problem {task.problem.name} has changed since run {directory.name} began (hash "
            f"{task.problem.hash[:12]}, was {started.problem_hash[:12]}): verdicts would not compare. Start a new run."
        )
    timed = None
    if started.latency is not None:
        found = timekeeper(task.problem, task.problem_name, None, config.allow_degraded)
        timed = agreed(started, found, directory.name, stopwatch.absent())
    proposers = _checked(config, proposers)
    return Run(config, task, proposers, directory, resumed=True, workers=workers or _workers, timekeeper=timed)


@dataclass(frozen=True)
class Preview:
    """What a run would ask first, and what it may cost.

    Attributes:
        prompt: the first question, of the first model.
        usd_per_call: dollars that one call is likely to cost at most, over the models by weight; None: unknown.
        usd_total: likewise for all evaluations, each with the repair of its answer, and no more than the dollar budget;
            answers that bring no new program come on top, as long as the budget lasts.
    """

    prompt: Prompt
    usd_per_call: float | None
    usd_total: float | None


def first_prompt(config: Config) -> Prompt:
    """What a run would ask first, with the seed's operating points. No model is asked, and none needs a key.

    Raises:
        VEvolveError: the problem or the seed is not there or not in order, or the seed cannot be contained.
    """
    task = resolve(config)
    workers = open_workers("inline", task.problem_name, SandboxOptions(allow_degraded=config.allow_degraded))
    try:
        verdict = workers.submit(Job(task.seed, Seed.fresh().derive("examine"))).result()
    finally:
        workers.close()
    return _first_prompt(task, config, verdict)


def preview(config: Config) -> Preview:
    """The first prompt, without operating points, and the estimated cost, without asking any model.

    Args:
        config: the settings of the run.

    Raises:
        VEvolveError: as `start` does.
    """
    task = resolve(config)
    proposers = _checked(config, None)
    try:
        prompt = _first_prompt(task, config)
        estimates = [(weighted.weight, weighted.proposer.estimate(prompt)) for weighted in proposers]
    finally:
        for weighted in proposers:
            weighted.proposer.close()
    known = [(weight, usd) for weight, usd in estimates if usd is not None]
    if len(known) < len(estimates):
        return Preview(prompt, None, None)
    each = sum(weight * usd for weight, usd in known) / sum(weight for weight, _ in known)
    total = CALLS * each * config.evaluations
    return Preview(prompt, each, total if config.usd is None else min(total, config.usd))


def _first_prompt(task: Task, config: Config, verdict: Verdict | None = None) -> Prompt:
    shown = Shown(task.seed.source)
    if verdict is not None:
        shown = Shown(task.seed.source, verdict.points, verdict.feedback, "", task.seed.id[:8], verdict.status)
    return Questions(task, (), config.style).shown_prompt("mutate", [shown], ())


def _checked(config: Config, proposers: Sequence[Weighted] | None) -> Sequence[Weighted]:
    """The proposers, each with a price where dollars are limited."""
    opened = open_proposers(config) if proposers is None else proposers
    for weighted in opened:
        refuse_unpriced(weighted.proposer.estimate(Prompt(system="", user="")), weighted.proposer, config)
    return opened


def _workers(config: Config, task: Task, stopped: Callable[[], bool]) -> Workers:
    return open_workers(
        config.workers,
        task.problem_name,
        SandboxOptions(allow_degraded=config.allow_degraded),
        ray_address=config.ray_address,
        # More than this would idle: `lag` iterations are in flight, each with at most one selection on its heels.
        most=2 * config.lag,
        stopped=stopped,
    )
