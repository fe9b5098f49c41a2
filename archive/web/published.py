"""What is known of a problem without any run: methods that were measured on it, and figures of the literature.

An archive knows none of it, so whoever serves the page hands it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vevolve.types import Point


@dataclass(frozen=True)
class Method:
    """A method as it was measured on a problem.

    Attributes:
        name: of the method.
        id: of its program.
        title: one line on it.
        reference: it reads what no real method could, such as an oracle.
        points: its operating points, on whatever split they were measured.
    """

    name: str
    id: str
    title: str
    reference: bool
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Figure:
    """Objectives as somebody else published them, where and how they measured it.

    Attributes:
        name: whose they are.
        values: objective -> its value.
        source: where they stand.
    """

    name: str
    values: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Known:
    """What is known of one problem.

    Attributes:
        problem_hash: of the version that the methods were measured on.
        methods: with a verdict on that very version.
        figures: of the literature.
    """

    problem_hash: str
    methods: tuple[Method, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Section:
    """The methods of one problem as a table.

    Attributes:
        problem: its name.
        label: the operating point that ranks.
        columns: of the table, in order.
        texts: those that hold no figure.
        rows: `cells` (column -> text), `reference`, `stale` and `title` of every method.
    """

    problem: str
    label: str
    columns: Sequence[str]
    texts: Sequence[str]
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


class Shelf(Protocol):
    """Where it is looked up; asked by several threads."""

    def known(self, problem: str) -> Known | None:
        """What is known of a problem; None for one that is not installed here."""
        ...

    def board(self) -> Sequence[Section]:
        """All methods of all problems."""
        ...
