"""What a run knows: the fold of its `Told` events, with the part of it that questions may use by now."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from vevolve.archive.events import Told
from vevolve.evolve.ask import NOT_EVALUATED, View
from vevolve.evolve.propose import tree_hash
from vevolve.types import Candidate, Objective


class History:
    """Iterations are learned in order; the view follows `lag` iterations behind.

    Attributes:
        told: the last iteration that was told; -1 before the seed.
        evaluations: how many were examined, the seed not counted.
        trees: tree hash -> the iteration that brought it first.
        view: what the next question may know.
    """

    def __init__(self, objectives: Sequence[Objective], lag: int) -> None:
        self.told, self.evaluations = -1, 0
        self.trees: dict[str, int] = {}
        self.view = View(objectives)
        self._lag = lag
        self._unseen: deque[tuple[Told, Candidate]] = deque()
        self._drawn: deque[str] = deque(maxlen=lag)

    def learn(self, told: Told, candidate: Candidate) -> None:
        """Take in an iteration that stands in the archive."""
        self.told = told.iteration
        status = told.verdict.status
        self.evaluations += told.operation != "seed" and status not in NOT_EVALUATED
        if status not in NOT_EVALUATED:
            self.trees.setdefault(tree_hash(candidate), told.iteration)
        # A report may be large, and no choice depends on it.
        lean = told.model_copy(update={"verdict": told.verdict.model_copy(update={"report": {}})})
        self._unseen.append((lean, candidate))
        self.see(told.iteration + 1)

    def see(self, asking: int) -> View:
        """The view for the question of an iteration. Later questions never ask for less."""
        while self._unseen and self._unseen[0][0].iteration <= self.through(asking):
            self.view.tell(*self._unseen.popleft())
        return self.view

    def through(self, asking: int) -> int:
        """The last iteration that the question of iteration `asking` knows of."""
        return max(0, asking - self._lag)

    def draw(self, tree: str) -> None:
        """A free proposer drew this program. Called in the order of iterations, by one thread."""
        self._drawn.append(tree)

    def knows(self, tree: str, asking: int) -> bool:
        """Whether a free proposer should draw again for iteration `asking`. Called by the thread that draws.

        What was told after `through(asking)` counts only where a free proposer drew it, in order: how much else is
        known by now depends on timing.
        """
        return self.trees.get(tree, asking) <= self.through(asking) or tree in self._drawn
