"""The programs that questions are made from, as the archive holds them. The last few stay in memory.

What a question may know of a program, its text and its verdict on `search`, never changes once it was examined. The
best programs are parents and donors again and again, and reading one takes five queries and two parses.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vevolve.archive import Archive, Record
from vevolve.prompts import Shown
from vevolve.types import Candidate

KEPT = 64
"""Programs in memory, their syntax trees included."""


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
    """Programs by their ids."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._kept = functools.lru_cache(maxsize=KEPT)(self._read)

    def named(self, id: str) -> Program:
        """The program of that id. Raises `UnknownName` where the archive has none."""
        return self._kept(id)

    def _read(self, id: str) -> Program:
        record = self._archive.record(id)
        return Program(record.candidate, shown(record))


def shown(record: Record) -> Shown:
    """A candidate without anything of the `select` split."""
    return Shown(
        source=record.source,
        points=tuple(point for point in record.points if point.split == "search"),
        feedback=record.verdict.feedback,
        idea=record.idea,
        name=record.id[:8],
        status=record.status,
    )
