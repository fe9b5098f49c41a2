"""Put a question together: parents from the view, the proposer by weight, the prompt from `search` numbers only."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from vevolve import prompts
from vevolve.archive import Archive, Record
from vevolve.archive.events import Asked, Proposed
from vevolve.errors import UnknownName
from vevolve.evaluators.contract import Problem
from vevolve.evolve.ask import Choice, View, choose
from vevolve.evolve.propose import Question, is_free
from vevolve.evolve.proposers.contract import Operation, Prompt, Proposer
from vevolve.evolve.setup import Task, Weighted
from vevolve.prompts import Failure, Form, Shown
from vevolve.types import Candidate, Seed

OPERATIONS: Mapping[str, Operation] = {"mutate": "mutate", "crossover": "crossover", "repair": "repair"}


class Questions:
    """What a run asks its proposers.

    Args:
        task: the problem, and the shipped programs to borrow from.
        proposers: who is asked, and how often.
        form: what a model is asked for.
    """

    def __init__(self, task: Task, proposers: Sequence[Weighted], form: Form) -> None:
        self.problem: Problem = task.problem
        self.proposers = tuple(proposers)
        self._shipped = task.shipped
        self._form: Form = form
        self._system = prompts.system(task.problem.statement, task.problem.objectives)

    def put(
        self,
        iteration: int,
        view: View,
        archive: Archive,
        seed: Seed,
        asked: Asked | None = None,
        paid: Mapping[int, Proposed] | None = None,
        tired: Collection[str] = (),
    ) -> Question:
        """The question of an iteration, from the view and the iteration's own seed alone.

        Args:
            iteration: its number.
            view: what is known by then.
            archive: where the programs of the view stand.
            seed: of this iteration.
            asked: how an earlier session put it, kept if its proposer is still there or has been paid.
            paid: that session's replies.
            tired: names of proposers that are asked no more; at least one is left.
        """
        proposer, author = self._drawn(seed.derive("model"), tired), None
        choice: Choice | None = None
        if asked is not None:
            named = {weighted.proposer.name: weighted.proposer for weighted in self.proposers}
            if asked.proposer in named or paid:
                proposer, author = named.get(asked.proposer, proposer), asked.proposer
                operation = OPERATIONS.get(asked.operation, "mutate")
                choice = Choice(operation, asked.parents, asked.donors)
        choice = choice or choose(view, seed.derive("ask"))
        parents = [archive.record(id) for id in choice.parents]
        donors = [record for id in choice.donors if (record := _found(archive, id))]
        return Question(
            iteration=iteration,
            choice=choice,
            author=author or proposer.name,
            proposer=proposer,
            prompt=Prompt(system="", user="")
            if is_free(proposer)
            else self.prompt(choice.operation, parents, donors, view),
            mend=partial(self._mend, parents[0].candidate),
            parents=tuple(record.candidate for record in parents),
            donors=(*(record.candidate for record in donors), *self._shipped),
            seed=seed.derive("propose"),
        )

    def prompt(self, operation: Operation, parents: Sequence[Record], donors: Sequence[Record], view: View) -> Prompt:
        """The question as text."""
        return self.shown_prompt(
            operation, [_shown(one) for one in parents], [_shown(one) for one in donors], view.recent
        )

    def shown_prompt(
        self, operation: Operation, parents: Sequence[Shown], others: Sequence[Shown], failures: Sequence[Failure] = ()
    ) -> Prompt:
        """The question as text, from programs as a model gets to see them."""
        objectives, form, failures = self.problem.objectives, self._form, tuple(failures)
        if operation == "crossover":
            user = prompts.crossover(parents[0], [*parents[1:], *others], objectives, failures=failures, form=form)
        elif operation == "repair":
            user = prompts.repair(parents[0], objectives, inspirations=others, failures=failures, form=form)
        else:
            user = prompts.mutate(parents[0], objectives, inspirations=others, failures=failures, form=form)
        return Prompt(system=self._system, user=user)

    def _mend(self, parent: Candidate, reply: str, fault: str) -> Prompt:
        user = prompts.apply_repair(Shown(parent.source), reply, fault, form=self._form)
        return Prompt(system=self._system, user=user)

    def _drawn(self, seed: Seed, tired: Collection[str]) -> Proposer:
        left = [weighted for weighted in self.proposers if weighted.proposer.name not in tired]
        return random.Random(seed.integer).choices(left, [weighted.weight for weighted in left])[0].proposer


def _shown(record: Record) -> Shown:
    """A candidate without anything of the `select` split."""
    return Shown(
        source=record.source,
        points=tuple(point for point in record.points if point.split == "search"),
        feedback=record.verdict.feedback,
        idea=record.idea,
        name=record.id[:8],
        status=record.status,
    )


def _found(archive: Archive, id: str) -> Record | None:
    """A donor's record; None where an earlier session's is not in the archive."""
    try:
        return archive.record(id)
    except UnknownName:
        return None
