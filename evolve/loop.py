"""The loop: ask, propose, evaluate, tell.

Proposals and examinations are both in flight, and still a run depends neither on timing nor on the number of workers:
iterations are numbered, iteration i is asked with what was known when iteration i - lag was told, and iterations are
told in order, however early a result arrives. A candidate that gained on `search` at iteration i is examined on
`select` while the search goes on, and that verdict joins the archive just before iteration i + lag is told. So does its
comparison on fresh documents, a lag later. See docs/decisions/002-lagged-commits.md and 011-elites.md.

The archive is written here alone, by the thread that iterates over `Loop.events`. What is in memory is a fold of the
event log, so a run that was killed goes on from its log: iterations that were asked and not told are done again, with
the replies that were paid for.
"""

from __future__ import annotations

import base64
import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty

from vevolve.archive import Archive
from vevolve.archive.events import Asked, Budget, Ended, Event, Told
from vevolve.errors import BadProblem, ProposerError
from vevolve.evolve.ask import is_reference, points_of
from vevolve.evolve.budget import Clock, Dollars
from vevolve.evolve.config import Config
from vevolve.evolve.flights import Comparison, Flight
from vevolve.evolve.garbage import spared
from vevolve.evolve.history import History
from vevolve.evolve.inbox import Inbox
from vevolve.evolve.journal import Journal
from vevolve.evolve.past import recover
from vevolve.evolve.patience import Patience
from vevolve.evolve.programs import Programs
from vevolve.evolve.promotion import Promotions
from vevolve.evolve.propose import Draft, bare, is_free, propose, tree_hash
from vevolve.evolve.proposers.contract import Proposer
from vevolve.evolve.questions import Questions
from vevolve.evolve.threads import Threads
from vevolve.evolve.timekeeper import Timekeeper
from vevolve.evolve.timings import Timings
from vevolve.evolve.workers import Job, Meeting, Workers
from vevolve.types import Candidate, Seed, Verdict

log = logging.getLogger(__name__)

GRACE_S = 30.0
"""How long what is in flight may take after the user's stop."""
FAILURE_GRACE_S = 5.0
"""How long earlier iterations may take after a proposer failed for good."""
BARREN = 64
"""Iterations in a row without a new program after which a run ends: its proposers have nothing more to say."""
QUIET_S = 10.0
"""Seconds without any result after which a run says what it waits for."""


class Loop:
    """One session of a run.

    Args:
        archive: open for writing.
        secret: the run's seed.
        seed: the program to start from.
        questions: puts questions together.
        workers: examine candidates.
        config: budgets and lag.
        timekeeper: times what is promoted; None: nothing is timed.
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
        timekeeper: Timekeeper | None = None,
        grace: float = GRACE_S,
    ) -> None:
        self._archive, self._secret, self._seed = archive, secret, seed
        self._questions, self._workers, self._config = questions, workers, config
        self._lag, self._grace = config.lag, grace
        self._programs = Programs(archive)
        self._run = secret.derive("run").key.hex()[:8]
        # What is known.
        asked = [one.proposer for one in questions.proposers]
        self._free = {one.name for one in asked if is_free(one)}
        self._patience = Patience([one.name for one in asked if one.name not in self._free])
        self._known = History(archive.objectives, config.lag)
        self._dollars = Dollars(config.usd)
        self._clock = Clock(config.seconds)
        # What is in flight.
        self._next = 1
        self._flights: dict[int, Flight] = {}
        self._held: Flight | None = None
        self._promotions = Promotions(
            archive, secret, questions.problem, self._programs, config, self._submit, self._meet, self._ending
        )
        self._resumed: dict[int, Asked] = {}
        self._callers = Threads(config.lag, "propose")
        self._drawer = Threads(1, "draw")
        self._inbox = Inbox()
        self._timings = Timings(timekeeper, seed, self._programs, self._inbox.expect, self._failed, self._ending)
        self._journal = Journal(archive, self._inbox.wake)
        self._said = ""
        # How it ends.
        self._stopped = False
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self._failed_at = 0

    def stop(self) -> None:
        """Ask for nothing more, finish what is in flight within the grace time, and end. Safe in a signal handler."""
        self._stopped = True
        self._deadline = self._deadline or time.monotonic() + self._grace
        self._inbox.wake()

    def events(self) -> Iterator[Event]:
        """Run to the end of the budget, yielding each event once it is in the archive.

        Raises:
            ProposerError: a proposer failed for good; the archive says so.
            ArchiveError: the disk is full, or the database cannot be written.
        """
        with spared():
            yield from self._session()

    def _session(self) -> Iterator[Event]:
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
            self._end(*self._reason())
            yield from self._publish()
        except GeneratorExit:
            self._end("stopped by the user")
            raise
        finally:
            self._journal.close()
            self._callers.close()
            self._drawer.close()
            self._timings.close()
        if self._failure is not None:
            raise self._failure

    # -------------------------------------------------------------------------------------------------- the past

    def _recover(self) -> None:
        self._resumed = recover(
            self._archive, self._known, [self._promotions, self._timings], self._dollars, self._clock, free=self._free
        )
        self._next = max(1, self._known.told + 1)
        self._promotions.begin()
        self._timings.begin()

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
        view, tired = self._known.see(number), self._patience.tired(self._known.through(number))
        if view.barren >= BARREN or len(tired) == len(self._questions.proposers):
            return None
        asked = self._resumed.get(number)
        paid = {event.attempt: event for event in self._archive.proposed(number) if event.reply} if asked else {}
        seed = self._secret.derive("iteration", number)
        question = self._questions.put(number, view, self._programs, seed, asked, paid, tired)
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
            self._journal.later(asked)
        free = is_free(question.proposer)

        def work() -> Draft:
            draft = propose(
                question,
                known=lambda tree: self._known.knows(tree, number),
                paid=flight.paid,
                record=self._journal.leave if free else self._journal.record,
                dollars=self._dollars,
                estimate=flight.estimate,
                run=self._run,
            )
            if free and draft.tree:
                self._known.draw(draft.tree)
            return draft

        future = (self._drawer if free else self._callers).submit(work)
        self._inbox.expect(future, partial(self._drafted, flight), partial(self._failed, number))

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

    def _examine(self, flight: Flight, candidate: Candidate) -> None:
        # Every candidate meets the same randomness, so that two are compared on equal terms and a change without
        # effect gains nothing by luck. The problem derives what a stage needs; candidates see only what follows.
        job = Job(bare(candidate), self._secret.derive("examine"))
        self._submit(job, partial(setattr, flight, "verdict"), flight.iteration)

    def _submit(self, job: Job, then: Callable[[Verdict], None], iteration: int) -> None:
        self._inbox.expect(self._workers.submit(job), then, partial(self._failed, iteration))

    def _meet(self, meeting: Meeting, then: Callable[[tuple[Verdict, Verdict]], None], iteration: int) -> None:
        self._inbox.expect(self._workers.meet(meeting), then, partial(self._failed, iteration))

    # ------------------------------------------------------------------------------------------------------ tell

    def _commit(self) -> bool:
        """Tell, in order, every iteration whose turn has come, and promotions in their fixed places between them."""
        moved, last = False, not self._flights
        for event in self._timings.finished():
            self._append(event)
            moved = True
        while True:
            flight = self._flights.get(self._known.told + 1)
            waiting = self._promotions.due(math.inf if last else flight.iteration if flight else -1)
            if waiting is not None:
                if not waiting.done:
                    return moved
                self._append(self._promotions.outcome(waiting))
            elif flight is None or flight.verdict is None or flight.draft is None:
                return moved
            else:
                del self._flights[flight.iteration]
                self._tell(flight, flight.draft, flight.verdict)
            moved = True

    def _append(self, event: Event) -> None:
        self._journal.append(event)
        self._promotions.take(event)
        self._promotions.begin()
        self._timings.take(event)
        self._timings.begin()

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
        self._programs.learn(told, candidate)
        self._known.learn(told, candidate)
        self._lose_patience(flight.iteration, told.proposer, draft)

    def _lose_patience(self, iteration: int, author: str, draft: Draft) -> None:
        """Give up a proposer that is of no use; the run ends where there is no other."""
        gone = self._patience.tell(iteration, author, draft)
        if gone is None:
            return
        if len(self._patience.given_up) < len(self._questions.proposers):
            log.warning("%s; it is asked no more in this session.", gone.why.rstrip("."))
        elif gone.failed:
            # What others have in flight may still come, and was paid for.
            self._failed(sys.maxsize, ProposerError(f"{gone.why.rstrip('.')}. Nobody else can be asked."))

    # ------------------------------------------------------------------------------------------- waiting and ending

    def _publish(self) -> Iterator[Event]:
        if self._inbox.empty:
            self._journal.append()
        yield from self._journal.news()

    def _receive(self) -> None:
        """Wait for one result. The first Ctrl-C stops the run, the second is raised."""
        left = QUIET_S if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        left = left if self._clock.over else min(left, self._clock.left)
        try:
            self._inbox.receive(min(left, QUIET_S))
        except Empty:
            if left >= QUIET_S:
                self._say_what_is_waited_for()
        except KeyboardInterrupt:
            if self._stopped:
                raise
            self.stop()
        self._journal.store_answers()

    def _say_what_is_waited_for(self) -> None:
        """After a silence, once for each set of questions that is still open."""
        flights = [flight.question for flight in self._flights.values() if flight.draft is None]
        places = Counter(place_of(question.proposer) for question in flights if question is not None)
        said = "; ".join(
            f"Waiting for answers of {place}: {count} {'request' if count == 1 else 'requests'}"
            for place, count in places.items()
        )
        if said and said != self._said:
            log.warning("%s.", said)
        self._said = said

    def _failed(self, iteration: int, error: BaseException) -> None:
        """An iteration cannot be finished: those before it still are, and the run ends."""
        if self._failure is None or iteration < self._failed_at:
            self._failure, self._failed_at = error, iteration
            self._deadline = self._deadline or time.monotonic() + FAILURE_GRACE_S

    def _ending(self) -> bool:
        return self._stopped or self._failure is not None or self._clock.over

    def _over(self, moved: bool) -> bool:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return True
        if self._ending() and not moved and self._comparison_bars():
            return True
        if self._failure is not None:
            return all(number >= self._failed_at for number in self._flights)
        if (self._stopped or self._clock.over) and (left := self._left_open()):
            # What was paid for is still taken in, and what stands before the first of them is still told.
            asked = [number for number, flight in self._flights.items() if flight.draft is None and number not in left]
            earlier = [number for number in self._flights if number < min(left)]
            return not (moved or asked or earlier or self._promotions.due(min(left)))
        return not (moved or self._flights or self._promotions or self._timings)

    def _comparison_bars(self) -> bool:
        """Whether nothing can be told before a comparison is over, and no answer is still to come that was paid for.

        A comparison is many documents long. A resume goes on with it, and with what waits behind it.
        """
        first = self._promotions.due(min(self._flights, default=math.inf))
        left = self._left_open()
        asked = any(flight.draft is None and number not in left for number, flight in self._flights.items())
        return isinstance(first, Comparison) and not first.done and not asked

    def _left_open(self) -> dict[int, Proposer]:
        """Iteration -> whom it asks, of those who may take any time. A resume takes their answers up."""
        asked = [flight.question for flight in self._flights.values() if flight.draft is None]
        return {one.iteration: one.proposer for one in asked if one and is_open_ended(one.proposer)}

    def _end(self, reason: str, budget: Budget = "") -> None:
        self._journal.store_answers()
        self._journal.append(Ended(reason=reason, budget=budget))

    def _reason(self) -> tuple[str, Budget]:
        """Why it ended, and which total was reached where that is why."""
        config = self._config
        if self._failure is not None:
            whose: dict[type[BaseException], str] = {ProposerError: "a proposer", BadProblem: "the problem"}
            return f"{whose.get(type(self._failure), 'the harness')} failed: {self._failure}", ""
        if self._stopped:
            return "stopped by the user", ""
        if self._known.evaluations >= config.evaluations:
            return f"all {config.evaluations} evaluations are done", "evaluations"
        if self._clock.over:
            places = Counter(map(place_of, self._left_open().values()))
            stay = "".join(f"; questions left open in {place}: {count}" for place, count in places.items())
            return f"{config.seconds:g} seconds are over{stay}", "seconds"
        if self._held is not None:
            return (
                f"${config.usd:g} are spent, or too little is left for another call (${self._dollars.spent:.4f} spent)",
                "usd",
            )
        if len(self._patience.given_up) == len(self._questions.proposers):
            return "; ".join(gone.why for gone in self._patience.given_up.values()), ""
        return f"no new program in {BARREN} iterations", ""


def is_open_ended(proposer: Proposer) -> bool:
    """Whether a proposer may take any time, and finds its open questions again. It says so by `open_ended = True`."""
    return getattr(proposer, "open_ended", False) is True


def place_of(proposer: Proposer) -> str:
    """Where a proposer's answers come from, as it says itself; else its name."""
    return str(getattr(proposer, "place", proposer.name))
