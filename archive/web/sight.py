"""What the page keeps of one run between requests, caught up with the log before each."""

from __future__ import annotations

import os
from pathlib import Path

from vevolve.archive import certificates, database, elites, idea, notes
from vevolve.archive.events import Ended, Resumed, Started
from vevolve.archive.notes import Notes
from vevolve.archive.store import Archive
from vevolve.archive.summaries import Spot, Summary
from vevolve.archive.web.ranking import Ranking

SOURCES = 2000
"""Programs that are kept in memory."""


class Sight:
    """One run, open for reading. Belongs to the thread that made it.

    Attributes:
        name: of the run's directory.
        archive: the run's.
        head: the log's last row that is taken in.
        all: every candidate by id, in the order they were told.
        by_iteration: the id of the latest candidate that an iteration made.
        notes: what people said of them.
        elites: what comparisons on fresh documents have led to.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.archive = Archive.open(path)
        self.head = 0
        self.all: dict[str, Summary] = {}
        self.by_iteration: dict[int, str] = {}
        self.notes: dict[str, Notes] = {}
        self.elites = elites.Elites()
        self._rankings: dict[tuple[str, str], Ranking] = {}
        self._families: tuple[int, list[str]] = -1, []
        self._certified: tuple[int, dict[str, set[str]]] = -1, {}
        self._sources: dict[str, str] = {}
        self._ideas: dict[str, str] = {}
        self._inode = self.archive.path.stat().st_ino
        self._ended: Ended | None = None
        self._config: dict[str, object] = dict(self.archive.started.config)
        self._seen = self._met = 0

    def catch_up(self) -> None:
        """Take in what the log and the notes hold by now."""
        self.notes = notes.read(self.archive.path)
        head = self.archive.head
        if head == self.head:
            return
        for one in self.archive.summaries(self.head):
            for spot in one.spots:
                spot.figures.setdefault("iteration", one.iteration)
            if one.id in self.all and self.all[one.id].seq != one.seq:
                del self.all[one.id]  # told anew: it goes to the end
            self.all[one.id] = one
            self.by_iteration[one.iteration] = one.id
            self._rankings = {place: ranking for place, ranking in self._rankings.items() if ranking.take(one)}
        for entry in self.archive.events(self._seen, kinds=("started", "resumed", "ended")):
            self._seen = entry.seq
            self._ended = entry.event if isinstance(entry.event, Ended) else None
            if isinstance(entry.event, Started | Resumed):
                self._config = dict(entry.event.config)
        self._met = elites.follow(self.archive, self.elites, self._met)
        self.head = head

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
        return "select" if self.ranking("select").front else "search"

    def ranking(self, split: str, family: str = "") -> Ranking:
        """How candidates stand there."""
        if (split, family) not in self._rankings:
            self._rankings[split, family] = Ranking(
                self.archive.objectives_on(family), split, family, self.all.values()
            )
        return self._rankings[split, family]

    def front_points(self, split: str, family: str = "") -> list[tuple[Summary, Spot]]:
        """The points that no other dominates with their candidates, in ascending order of the first objective."""
        ranking = self.ranking(split, family)
        best = set(ranking.front)
        owners = [self.all[id] for id in ranking.worth]
        pairs = [(one, spot) for one in owners for spot in one.spots if ranking.has(spot) and spot.loss in best]
        name = self.archive.objectives_on(family)[0].name
        return sorted(pairs, key=lambda pair: (pair[1][name], pair[0].seq))

    def families(self) -> list[str]:
        """As `Archive.families`."""
        if self._families[0] != self.head:
            self._families = self.head, self.archive.families()
        return self._families[1]

    def certified(self) -> dict[str, set[str]]:
        """As `vevolve.archive.certificates.standing`."""
        if self._certified[0] != self.head:
            self._certified = self.head, certificates.standing(self.archive)
        return self._certified[1]

    def seeds(self) -> list[Summary]:
        """The programs that the run began with."""
        return [one for one in self.all.values() if one.operation == "seed"]

    def idea(self, one: Summary) -> str:
        """What was changed: as the proposer said, else as the syntax trees differ."""
        if one.idea:
            return one.idea
        if one.operation == "seed":
            return "the seed"
        if one.status == "unapplied" or not one.parents or one.parents[0] not in self.all:
            return ""
        if one.id not in self._ideas:
            self._ideas[one.id] = idea.difference(self.source(one.parents[0]), self.source(one.id))
        return self._ideas[one.id]

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
