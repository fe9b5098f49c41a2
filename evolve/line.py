"""Who waits for promotion, and for a comparison on fresh documents: a fold of the log, and of nothing else."""

from __future__ import annotations

import math
from collections import deque

from vevolve.archive.elites import Elites
from vevolve.archive.events import Compared, Event, Selected, Told
from vevolve.evaluators.confidence.discoveries import Discoveries
from vevolve.evaluators.contract import Problem
from vevolve.evaluators.fresh import cost, generator
from vevolve.evolve.ask import NOT_EVALUATED
from vevolve.evolve.config import Config
from vevolve.evolve.flights import Comparison, Selection
from vevolve.evolve.past import candidate_of

ALPHA = 0.05
"""The share of false elites that is allowed, and the chance of demoting one that is none."""
AGES = tuple(64 * 2**power for power in range(20))
"""Iterations since it became one after which an elite meets its incumbent again."""
TRIAL = 4
"""Documents after which losing is first looked at, and those on which an elite is met again."""
SHARE = 1 / 3
"""What fresh documents may cost, as a share of the evaluations so far: a quarter of both together."""


class Line:
    """Those that wait, first come, first told.

    Attributes:
        waiting: who is due when, in ascending order.
        elites: what the comparisons so far have led to.
        told: the last iteration that was told.
        most: fresh documents of a comparison; 0 where there are none.

    A first comparison begins while the documents told so far, and a trial for each that is under way, cost less than
    their share. Who comes when more was spent waits until enough was evaluated, and those after it do too; where the
    run ends before, it stays unconfirmed. So one may overdraw the share, and the next ones make up for it, as they do
    for elites that meet their incumbents again: these wait for nothing.
    """

    def __init__(self, problem: Problem, config: Config) -> None:
        promotes = any(stage.promotion for stage in problem.stages)
        self._least_gain = problem.promotion_gain if promotes else math.inf
        self._lag = config.lag
        self.most = config.confirm if generator(problem) else 0
        self._earned = SHARE / cost(problem)
        self._evaluated = self._met = 0
        self.told = -1
        self.elites = Elites()
        self.waiting: deque[Selection | Comparison] = deque()
        self._postponed: deque[Selected] = deque()

    def take(self, event: Event) -> None:
        """Take in the next event of the log. What it gives rise to waits for `begin`."""
        match event:
            case Told():
                self.told = event.iteration
                self._evaluated += event.iteration > 0 and event.verdict.status not in NOT_EVALUATED
                if event.hypervolume_gain > self._least_gain:
                    due = self.told + self._lag
                    self.waiting.append(Selection(event.iteration, candidate_of(event).id, due))
                self._age()
                self._challenge()
            case Selected():
                self._drop(Selection, event.candidate)
                self.elites.take(event)
                if event.incumbent and self.most:
                    self._postponed.append(event)
                    self._challenge()
            case Compared():
                self._met += len(event.gains)
                self._drop(Comparison, event.candidate)
                if not event.aged:  # a log that was written when documents had another price, or none
                    self._postponed = deque(one for one in self._postponed if one.candidate != event.candidate)
                self.elites.take(event)
            case _:
                pass

    def _challenge(self) -> None:
        """Let those begin that can be afforded, first come, first served."""
        while self._postponed and self._affordable():
            event, due = self._postponed.popleft(), self.told + self._lag
            before = sum(isinstance(one, Comparison) and not one.aged for one in self.waiting)
            # Comparisons are told in order, so this one's number is known, and of elites before it the fewest.
            enough = 1 / Discoveries(ALPHA, self.elites.tests + before, self.elites.made).level
            self.waiting.append(
                Comparison(
                    event.iteration, event.candidate, event.incumbent, event.claims, event.claimed, due, enough=enough
                )
            )

    def _affordable(self) -> bool:
        under_way = sum(isinstance(one, Comparison) for one in self.waiting)
        return self._met + TRIAL * under_way < self._earned * self._evaluated

    def _age(self) -> None:
        """An elite meets its incumbent again, ever more rarely. An age reached while it waits is made up for."""
        if not self.most:
            return
        meeting = {one.candidate for one in self.waiting if isinstance(one, Comparison)}
        for one in self.elites.standing:
            age = max((age for age in AGES if age <= self.told - one.since), default=0)
            if age > one.aged and one.candidate not in meeting:
                before, due = len(one.gains) + len(one.later), self.told + self._lag
                self.waiting.append(
                    Comparison(
                        one.iteration,
                        one.candidate,
                        one.incumbent,
                        one.claims,
                        one.claimed,
                        due,
                        before=before,
                        aged=age,
                    )
                )

    def _drop(self, kind: type[Selection | Comparison], candidate: str) -> None:
        found = next((one for one in self.waiting if isinstance(one, kind) and one.candidate == candidate), None)
        if found is not None:
            self.waiting.remove(found)
