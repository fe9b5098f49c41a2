"""The programs that questions are made from, as the archive holds them. Those of late stay in memory.

What a question may know of a program, its text and its verdict on `search`, never changes once it was examined. New
programs and the best ones are parents and donors again and again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from vevolve.archive import Archive
from vevolve.archive.events import Told
from vevolve.evolve.ask import NOT_EVALUATED
from vevolve.evolve.past import candidate_of
from vevolve.evolve.propose import bare
from vevolve.prompts import Shown
from vevolve.types import Candidate, Verdict

KEPT = 128
"""Programs in memory, as text."""


@dataclass(frozen=True)
class Program:
    """A program with what a model may know of it: nothing of the `select` split.

    Attributes:
        candidate: the program itself.
        shown: as a prompt shows it.
    """

    candidate: Candidate
    shown: Shown


class Programs:
    """Programs by their ids; those that were told or asked for last need no reading."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._kept: OrderedDict[str, Program] = OrderedDict()

    def named(self, id: str) -> Program:
        """The program of that id. Raises `UnknownName` where the archive has none."""
        found = self._kept.get(id)
        if found is None:
            told = self._archive.told(id)
            found = program_of(told, candidate_of(told))
        return self._keep(found)

    def learn(self, told: Told, candidate: Candidate) -> None:
        """Keep a program that the archive took in just now. The first verdict on a program is the one that counts."""
        if told.verdict.status not in NOT_EVALUATED and candidate.id not in self._kept:
            self._keep(program_of(told, bare(candidate)))

    def _keep(self, program: Program) -> Program:
        self._kept[program.candidate.id] = program
        self._kept.move_to_end(program.candidate.id)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return program


def program_of(told: Told, candidate: Candidate) -> Program:
    """A program as it was told, without anything of the `select` split."""
    return Program(candidate, shown(candidate, told.verdict, told.idea))


def shown(candidate: Candidate, verdict: Verdict, idea: str) -> Shown:
    """A candidate without anything of the `select` split."""
    return Shown(
        source=candidate.source,
        points=tuple(point for point in verdict.points if verdict.valid and point.split == "search"),
        feedback=verdict.feedback,
        idea=idea,
        name=candidate.id[:8],
        status=verdict.status,
    )
