"""What the page keeps of one run between requests, caught up with the log before each."""

from __future__ import annotations

import os
from pathlib import Path

from vevolve.archive import database, notes
from vevolve.archive.events import Ended, Resumed, Started
from vevolve.archive.notes import Notes
from vevolve.archive.pareto import Loss
from vevolve.archive.reading import loss_of
from vevolve.archive.store import Archive
from vevolve.archive.summaries import Summary

SOURCES = 2000
"""Programs that are kept in memory."""


class Sight:
    """One run, open for reading. Belongs to the thread that made it.

    Attributes:
        name: of the run's directory.
        archive: the run's.
        head: the log's last row that is taken in.
        all: every candidate by id, in the order they were told.
        notes: what people said of them.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.archive = Archive.open(path)
        self.head = 0
        self.all: dict[str, Summary] = {}
        self.notes: dict[str, Notes] = {}
        self._curves: dict[tuple[str, str], tuple[int, list[tuple[int, float]]]] = {}
        self._ranks: dict[str, tuple[int, dict[str, int]]] = {}
        self._sources: dict[str, str] = {}
        self._inode = self.archive.path.stat().st_ino
        self._ended: Ended | None = None
        self._config: dict[str, object] = dict(self.archive.started.config)
        self._seen = 0

    def catch_up(self) -> None:
        """Take in what the log and the notes hold by now."""
        self.notes = notes.read(self.archive.path)
        if self.archive.head == self.head:
            return
        for one in self.archive.summaries(self.head):
            for spot in one.spots:
                spot.loss = loss_of(spot.figures, self.archive.objectives)
                spot.figures.setdefault("iteration", one.iteration)
            if one.id in self.all and self.all[one.id].seq != one.seq:
                del self.all[one.id]  # told anew: it goes to the end
            self.all[one.id] = one
        for entry in self.archive.events(self._seen, kinds=("started", "resumed", "ended")):
            self._seen = entry.seq
            self._ended = entry.event if isinstance(entry.event, Ended) else None
            if isinstance(entry.event, Started | Resumed):
                self._config = dict(entry.event.config)
        self.head = self.archive.head

    @property
    def config(self) -> dict[str, object]:
        """The settings of the latest session."""
        return self._config

    @property
    def state(self) -> str:
        """`running`, `ended` or `stopped` (its driver is gone without a word)."""
        if self._ended is not None:
            return "ended"
        return "running" if is_locked(self.archive.path) else "stopped"

    @property
    def reason(self) -> str:
        """Why it ended."""
        return self._ended.reason if self._ended else ""

    @property
    def split(self) -> str:
        """The one that says most: `select` where anything has points there."""
        return "select" if self.ranks("select") else "search"

    def ranks(self, split: str) -> dict[str, int]:
        """As `Archive.ranks`."""
        seq, found = self._ranks.get(split, (-1, {}))
        if seq != self.head:
            found = self.archive.ranks(split)
            self._ranks[split] = self.head, found
        return found

    def curve(self, split: str, family: str = "") -> list[tuple[int, float]]:
        """As `Archive.hypervolume_curve`."""
        seq, found = self._curves.get((split, family), (-1, []))
        if seq != self.head:
            found = self.archive.hypervolume_curve(split, family)
            self._curves[split, family] = self.head, found
        return found

    def front(self, split: str, family: str = "") -> set[Loss]:
        """The losses that no other dominates."""
        pairs = self.archive.front_points(split, family)
        found = (loss_of(point.model_extra or {}, self.archive.objectives) for _, point in pairs)
        return {loss for loss in found if loss is not None}

    def source(self, id: str) -> str:
        """The program of a candidate."""
        if id not in self._sources:
            if len(self._sources) > SOURCES:
                self._sources.clear()
            self._sources[id] = self.archive.record(id).source
        return self._sources[id]

    def is_of(self, path: Path) -> bool:
        """Whether this is still the run at that place, and not another that took its name."""
        try:
            return self.archive.path == path and path.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Close the database."""
        self.archive.close()


def is_locked(path: Path) -> bool:
    """Whether a driver has the database open for writing, found without touching its lock.

    Taking the lock to see whether it is free could turn away a driver that starts in that moment.
    """
    try:
        found = path.with_name(path.name + ".lock").stat()
        table = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    except OSError:
        return database.has_writer(path)
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return any(name in line.split() for line in table.splitlines())
