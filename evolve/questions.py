"""Put a question together: parents from the view, the proposer by weight, the prompt from `search` numbers only."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from vevolve import prompts
from vevolve.archive.events import Asked, Proposed
from vevolve.errors import UnknownName
from vevolve.evaluators.contract import Problem
from vevolve.evolve.ask import Choice, View, choose
from vevolve.evolve.programs import Program, Programs
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
        programs: Programs,
        seed: Seed,
        asked: Asked | None = None,
        paid: Mapping[int, Proposed] | None = None,
        tired: Collection[str] = (),
    ) -> Question:
        """The question of an iteration, from the view and the iteration's own seed alone.

        Args:
            iteration: its number.
            view: what is known by then.
            programs: those of the view.
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
        parents = [programs.named(id) for id in choice.parents]
        donors = [found for id in choice.donors if (found := _found(programs, id))]
        return Question(
            iteration=iteration,
            choice=choice,
            author=author or proposer.name,
            proposer=proposer,
            prompt=Prompt(system="", user="")
            if is_free(proposer)
            else self.prompt(choice.operation, parents, donors, view),
            mend=partial(self._mend, parents[0].candidate),
            parents=tuple(parent.candidate for parent in parents),
            donors=(*(donor.candidate for donor in donors), *self._shipped),
            seed=seed.derive("propose"),
        )

    def prompt(self, operation: Operation, parents: Sequence[Program], donors: Sequence[Program], view: View) -> Prompt:
        """The question as text."""
        return self.shown_prompt(operation, [one.shown for one in parents], [one.shown for one in donors], view.recent)

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


def _found(programs: Programs, id: str) -> Program | None:
    """A donor; None where an earlier session's is not in the archive."""
    try:
        return programs.named(id)
    except UnknownName:
        return None
