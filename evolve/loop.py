"""The loop: ask, propose, evaluate, tell.

Proposals and examinations are both in flight, and still a run depends neither on timing nor on the number of workers:
iterations are numbered, iteration i is asked with what was known when iteration i - lag was told, and iterations are
told in order, however early a result arrives. A candidate that gained on `search` at iteration i is examined on
`select` while the search goes on, and that verdict joins the archive just before iteration i + lag is told. See
docs/decisions/002-lagged-commits.md.

The archive is written here alone, by the thread that iterates over `Loop.events`. What is in memory is a fold of the
event log, so a run that was killed goes on from its log: iterations that were asked and not told are done again, with
the replies that were paid for.
"""

from __future__ import annotations

import base64
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

from vevolve.archive import Archive
from vevolve.archive.events import Asked, Ended, Event, Proposed, Selected, Told
from vevolve.errors import ProposerError
from vevolve.evolve.ask import is_reference, points_of
from vevolve.evolve.budget import Clock, Dollars
from vevolve.evolve.config import Config
from vevolve.evolve.history import History
from vevolve.evolve.propose import Draft, Question, is_free, propose, tree_hash
from vevolve.evolve.questions import Questions
from vevolve.evolve.threads import Threads
from vevolve.evolve.workers import Job, Workers
from vevolve.types import Candidate, Seed, Verdict

T = TypeVar("T")

GRACE_S = 30.0
"""How long what is in flight may take after the user's stop."""
FAILURE_GRACE_S = 5.0
"""How long earlier iterations may take after a proposer failed for good."""
BARREN = 64
"""Iterations in a row without a new program after which a run ends: its proposers have nothing more to say."""


@dataclass
class Flight:
    """An iteration between ask and tell. The seed's has no question."""

    iteration: int
    question: Question | None = None
    paid: dict[int, Proposed] = field(default_factory=dict[int, Proposed])
    estimate: float | None = 0.0
    draft: Draft | None = None
    verdict: Verdict | None = None


@dataclass
class Selection:
    """A candidate that gained on `search`, while it is examined on `select`."""

    iteration: int
    candidate: str
    verdict: Verdict | None = None


class Loop:
    """One session of a run.

    Args:
        archive: open for writing.
        secret: the run's seed.
        seed: the program to start from.
        questions: puts questions together.
        workers: examine candidates.
        config: budgets and lag.
        grace: seconds that what is in flight may take after a stop.
    """

    def __init__(
        self,
        archive: Archive,
        secret: Seed,
        seed: Candidate,
        questions: Questions,
        workers: Workers,
        config: Config,
        *,
        grace: float = GRACE_S,
    ) -> None:
        self._archive, self._secret, self._seed = archive, secret, seed
        self._questions, self._workers, self._config = questions, workers, config
        promotes = any(stage.promotion for stage in questions.problem.stages)
        self._least_gain = questions.problem.promotion_gain if promotes else math.inf
        self._free = {one.proposer.name for one in questions.proposers if is_free(one.proposer)}
        self._lag, self._grace = config.lag, grace
        # What is known.
        self._known = History(archive.objectives, config.lag)
        self._dollars = Dollars(config.usd)
        self._clock = Clock(config.seconds)
        # What is in flight.
        self._next = 1
        self._flights: dict[int, Flight] = {}
        self._held: Flight | None = None
        self._selections: deque[Selection] = deque()
        self._resumed: dict[int, Asked] = {}
        self._callers = Threads(config.lag, "propose")
        self._drawer = Threads(1, "draw")
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._replies: SimpleQueue[Proposed] = SimpleQueue()
        self._waiting: list[Event] = []
        self._news: deque[Event] = deque()
        # How it ends.
        self._stopped = False
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self._failed_at = 0

    def stop(self) -> None:
        """Ask for nothing more, finish what is in flight within the grace time, and end. Safe in a signal handler."""
        self._stopped = True
        self._deadline = self._deadline or time.monotonic() + self._grace
        self._inbox.put(lambda: None)

    def events(self) -> Iterator[Event]:
        """Run to the end of the budget, yielding each event once it is in the archive.

        Raises:
            ProposerError: a proposer failed for good; the archive says so.
            ArchiveError: the disk is full, or the database cannot be written.
        """
        try:
            self._recover()
            if self._known.told < 0:
                self._begin_seed()
            while True:
                self._ask()
                moved = self._commit()
                yield from self._publish()
                if self._over(moved):
                    break
                if not moved:
                    self._receive()
            self._end(self._reason())
            yield from self._publish()
        except GeneratorExit:
            self._end("stopped by the user")
            raise
        finally:
            self._callers.close()
            self._drawer.close()
        if self._failure is not None:
            raise self._failure

    # -------------------------------------------------------------------------------------------------- the past

    def _recover(self) -> None:
        """Fold the log: what was told, what was asked and not told, what still waits for `select`, what was spent."""
        gained: dict[str, Selection] = {}
        began = last = 0.0
        for entry in self._archive.events():
            match event := entry.event:
                case Told():
                    self._known.learn(event, candidate := candidate_of(event))
                    if event.proposer in self._free and event.verdict.status != "unapplied":
                        self._known.draw(tree_hash(candidate))
                    if event.hypervolume_gain > self._least_gain:
                        gained[candidate.id] = Selection(event.iteration, candidate.id)
                case Selected():
                    gained.pop(event.candidate, None)
                case Proposed():
                    self._dollars.spent += event.usd or 0.0
                case Asked() | Ended():
                    pass
                case _:
                    self._clock.earlier += last - began
                    began = entry.time
            last = entry.time
        self._resumed = {asked.iteration: asked for asked in self._archive.unfinished() if asked.iteration > 0}
        self._next = max(1, self._known.told + 1)
        for selection in gained.values():
            self._select(selection, self._archive.record(selection.candidate).candidate)

    # ------------------------------------------------------------------------------------------------------- ask

    def _ask(self) -> None:
        """Ask for every iteration that may be asked by now."""
        while not self._ending() and (flight := self._held or self._put()) is not None:
            self._held = None
            if not self._dollars.reserve(flight.estimate):
                self._held = flight
                return
            self._flights[flight.iteration] = flight
            self._next = flight.iteration + 1
            self._propose(flight)

    def _put(self) -> Flight | None:
        """The next iteration with its question; None where it has to wait, or where nothing more is asked."""
        number = self._next
        ready = self._known.told >= self._known.through(number)
        spent = self._known.evaluations + (number - 1 - self._known.told) >= self._config.evaluations
        if not ready or spent:
            return None
        view = self._known.see(number)
        if view.barren >= BARREN:
            return None
        asked = self._resumed.get(number)
        paid = {event.attempt: event for event in self._archive.proposed(number) if event.reply} if asked else {}
        seed = self._secret.derive("iteration", number)
        question = self._questions.put(number, view, self._archive, seed, asked, paid)
        return Flight(number, question, paid, 0.0 if 0 in paid else question.proposer.estimate(question.prompt))

    def _propose(self, flight: Flight) -> None:
        question, number = flight.question, flight.iteration
        if question is None:
            return
        asked = Asked(
            iteration=number,
            operation=question.choice.operation,
            parents=question.choice.parents,
            donors=question.choice.donors,
            proposer=question.author,
        )
        if self._resumed.pop(number, None) != asked:
            self._waiting.append(asked)
        free = is_free(question.proposer)

        def work() -> Draft:
            draft = propose(
                question,
                known=lambda tree: self._known.knows(tree, number),
                paid=flight.paid,
                record=self._replies.put,
                dollars=self._dollars,
                estimate=flight.estimate,
            )
            if free and draft.tree:
                self._known.draw(draft.tree)
            return draft

        self._await((self._drawer if free else self._callers).submit(work), flight, partial(self._drafted, flight))

    # -------------------------------------------------------------------------------------------------- evaluate

    def _begin_seed(self) -> None:
        self._flights[0] = flight = Flight(0, draft=Draft(self._seed, tree_hash(self._seed)))
        self._examine(flight, self._seed)

    def _drafted(self, flight: Flight, draft: Draft) -> None:
        flight.draft = draft
        if draft.fault:
            flight.verdict = self._questions.problem.invalid(draft.fault, "unapplied")
        elif (twin := self._twin(flight, draft.tree)) is not None:
            flight.verdict = self._duplicate(twin)
        else:
            self._examine(flight, draft.candidate)

    def _twin(self, flight: Flight, tree: str) -> int | None:
        """The earlier iteration, told or in flight, that holds the same program; None where there is none."""
        if tree in self._known.trees:
            return self._known.trees[tree]
        earlier = [other for other in self._flights.values() if other.iteration < flight.iteration]
        return next((other.iteration for other in earlier if other.draft and other.draft.tree == tree), None)

    def _duplicate(self, twin: int) -> Verdict:
        text = f"the same program as in iteration {twin}, but for comments and layout"
        return self._questions.problem.invalid(text, "duplicate")

    def _examine(self, flight: Flight | Selection, candidate: Candidate) -> None:
        # Every candidate meets the same randomness, so that two are compared on equal terms and a change without
        # effect gains nothing by luck. The problem derives what a stage needs; candidates see only what follows.
        job = Job(candidate, self._secret.derive("examine"), promotion=isinstance(flight, Selection))
        self._await(self._workers.submit(job), flight, partial(setattr, flight, "verdict"))

    def _select(self, selection: Selection, candidate: Candidate) -> None:
        self._selections.append(selection)
        self._examine(selection, candidate)

    # ------------------------------------------------------------------------------------------------------ tell

    def _commit(self) -> bool:
        """Tell, in order, every iteration whose turn has come, selections in their fixed places between them."""
        moved, last = False, not self._flights
        while True:
            flight = self._flights.get(self._known.told + 1)
            if self._selections and (
                last or (flight and self._selections[0].iteration <= flight.iteration - self._lag)
            ):
                selection = self._selections[0]
                if selection.verdict is None:
                    return moved
                self._selections.popleft()
                self._tell_selected(selection, selection.verdict)
            elif flight is None or flight.verdict is None or flight.draft is None:
                return moved
            else:
                del self._flights[flight.iteration]
                self._tell(flight, flight.draft, flight.verdict)
            moved = True

    def _tell(self, flight: Flight, draft: Draft, verdict: Verdict) -> None:
        candidate, question = draft.candidate, flight.question
        if draft.tree in self._known.trees:  # maybe brought by an earlier iteration after this one was examined
            verdict = self._duplicate(self._known.trees[draft.tree])
        counted = verdict.valid and not is_reference(candidate)
        told = Told(
            iteration=flight.iteration,
            source=candidate.source,
            params=None if candidate.params is None else base64.b64encode(candidate.params).decode(),
            parents=question.choice.parents if question else (),
            operation=question.choice.operation if question else "seed",
            proposer=question.author if question else "seed",
            idea=draft.idea,
            verdict=verdict,
            hypervolume_gain=self._archive.gain(points_of(verdict), "search") if counted else 0.0,
        )
        self._append(told)
        self._known.learn(told, candidate)
        if told.hypervolume_gain > self._least_gain:
            self._select(Selection(told.iteration, candidate.id), candidate)

    def _tell_selected(self, selection: Selection, verdict: Verdict) -> None:
        """A gain on the front of the main workload and on that of every family promotes."""
        families = {"", *(point.family for point in verdict.points)}
        gains = [self._archive.gain(points_of(verdict, "select", family), "select", family) for family in families]
        self._append(
            Selected(
                iteration=selection.iteration,
                candidate=selection.candidate,
                verdict=verdict,
                promoted=verdict.valid and min(gains) > 0,
            )
        )

    # ---------------------------------------------------------------------------------------------- the mechanics

    def _append(self, *events: Event) -> None:
        """Add events to the log together with those that waited for company: each append is flushed to the disk."""
        self._waiting.extend(events)
        if self._waiting:
            self._archive.append(*self._waiting)
            self._news.extend(self._waiting)
            self._waiting.clear()

    def _publish(self) -> Iterator[Event]:
        if self._inbox.empty():
            self._append()
        while self._news:
            yield self._news.popleft()

    def _await(self, future: Future[T], flight: Flight | Selection, then: Callable[[T], None]) -> None:
        """Once the future is done, go on in this thread, at the next `_receive`."""

        def arrived() -> None:
            error = future.exception()
            if error is None:
                then(future.result())
            elif self._failure is None or flight.iteration < self._failed_at:
                self._failure, self._failed_at = error, flight.iteration
                self._deadline = self._deadline or time.monotonic() + FAILURE_GRACE_S

        future.add_done_callback(lambda _: self._inbox.put(arrived))

    def _receive(self) -> None:
        """Wait for one result. The first Ctrl-C stops the run, the second is raised."""
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        try:
            arrived = self._inbox.get(timeout=left)
        except Empty:
            return
        except KeyboardInterrupt:
            if self._stopped:
                raise
            self.stop()
            return
        arrived()
        while not self._inbox.empty():
            self._inbox.get()()
        self._store_replies()

    def _store_replies(self) -> None:
        """What was paid for is on the disk before anything else happens."""
        replies = [self._replies.get() for _ in range(self._replies.qsize())]
        if replies:
            self._append(*replies)

    def _ending(self) -> bool:
        return self._stopped or self._failure is not None or self._clock.over

    def _over(self, moved: bool) -> bool:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return True
        if self._failure is not None:
            return all(number >= self._failed_at for number in self._flights)
        return not (moved or self._flights or self._selections)

    def _end(self, reason: str) -> None:
        self._store_replies()
        self._append(Ended(reason=reason))

    def _reason(self) -> str:
        config = self._config
        if self._failure is not None:
            who = "a proposer" if isinstance(self._failure, ProposerError) else "the harness"
            return f"{who} failed: {self._failure}"
        if self._stopped:
            return "stopped by the user"
        if self._known.evaluations >= config.evaluations:
            return f"all {config.evaluations} evaluations are done"
        if self._clock.over:
            return f"{config.seconds:g} seconds are over"
        if self._held is not None:
            return (
                f"${config.usd:g} are spent, or too little is left for another call (${self._dollars.spent:.4f} spent)"
            )
        return f"no new program in {BARREN} iterations"


def candidate_of(told: Told) -> Candidate:
    """The program that was told."""
    return Candidate(told.source, None if told.params is None else base64.b64decode(told.params))
