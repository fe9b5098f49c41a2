"""The board as the page of the runs shows it: methods beside a run's own points, and all of them as tables."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from vevolve.archive import Archive, certificates
from vevolve.archive.web.published import Figure, Known, Method, Section
from vevolve.evaluators.contract import Problem, load
from vevolve.evolve.leaderboard import board, measured
from vevolve.registry import problem_names

TEXTS = ("method", "certificate", "published", "note")
"""Columns of the board that hold no figure."""


class Measurements:
    """What ships and what a user measured, looked up when it is asked for: a problem takes a second to load.

    Args:
        own: where the user's measurements are kept.
    """

    def __init__(self, own: Path = measured.OWN) -> None:
        self._own = own
        self._kept: dict[str, Known | None] = {}
        self._one_at_a_time = threading.Lock()

    def known(self, problem: str) -> Known | None:
        """The methods and figures of a problem that is installed here; a run's path to a folder is never imported."""
        with self._one_at_a_time:
            if problem not in self._kept:
                self._kept[problem] = self._known(load(problem)) if problem in problem_names() else None
            return self._kept[problem]

    def board(self) -> Sequence[Section]:
        """As `vevolve leaderboard` prints it."""
        with self._one_at_a_time:
            return [self._section(load(name)) for name in measured.PROBLEMS]

    def _known(self, problem: Problem) -> Known:
        figures = tuple(Figure(one.name, one.values, one.source) for one in problem.published)
        if problem.name not in measured.PROBLEMS:
            return Known(problem.hash, figures=figures)
        found = [one for one in self._read() if one.stage == "select" and one.verdict.valid]
        methods: list[Method] = []
        for entry in measured.entries(problem, found):
            fitting = [one.verdict for one in found if measured.fits(one, problem, entry.candidate)]
            if fitting:
                points = tuple(fitting[0].points)
                methods.append(Method(entry.method, entry.candidate.id, entry.title, entry.reference, points))
        return Known(problem.hash, tuple(methods), figures)

    def _section(self, problem: Problem) -> Section:
        entries = measured.entries(problem, self._read())
        rows = board.rows(problem, entries, problem.headline, certified(problem))
        return Section(
            problem=problem.name,
            label=problem.headline,
            columns=board.columns(problem, rows),
            texts=TEXTS,
            rows=[
                {
                    "cells": board.cells(problem, row),
                    "reference": row["reference"],
                    "stale": row["stale"],
                    "title": row["title"],
                }
                for row in rows
            ],
        )

    def _read(self) -> list[measured.Measured]:
        return [*measured.read(self._own), *measured.read(measured.SHIPPED)]


def certified(problem: Problem) -> dict[str, str]:
    """What the ledgers under ./runs have certified of programs, by candidate id; of several, the latest that stands."""
    found: dict[str, str] = {}
    for ledger in sorted(Path("runs", "certificates").glob(f"{problem.name}-L*")):
        with Archive.open(ledger) as archive:
            for id, ranked in certificates.ranked(archive).items():
                registered, failed = ranked[-1]
                found[id] = f"{certificates.short(registered.statement)} at {registered.point['label']}{failed}"
    return found
