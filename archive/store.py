"""The archive of one run.

Guarantees:
- One writer, any number of readers, also while it writes. Nobody waits for a reader.
- An append is all or nothing, and on the disk when it returns. Killing the writer loses nothing that was appended.
- The log of events is the run. All tables are a fold of it; `verify` folds it again and compares.
- Facts are stored. Rank, front, hypervolume and totals are derived on reading and kept up to date in memory.

An archive belongs to the thread that opened it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vevolve.archive import database, log, opening, reading
from vevolve.archive import summaries as brief
from vevolve.archive.events import Asked, Ended, Event, Measured, Proposed, Selected, Started, Told
from vevolve.archive.fold import fold, traits
from vevolve.archive.log import Entry
from vevolve.archive.opening import Opened
from vevolve.archive.reading import Order
from vevolve.archive.record import Record
from vevolve.archive.standing import Standing
from vevolve.archive.standings import Standings
from vevolve.archive.summaries import Summary
from vevolve.archive.totals import Tally, Totals
from vevolve.errors import ArchiveError
from vevolve.types import Candidate, Objective, Point


class Archive:
    """The log of a run and what follows from it. Made by `Archive.create` or `Archive.open`.

    Attributes:
        path: the database file.
        started: how the run began.
        objectives: what candidates are ranked on.
    """

    def __init__(self, opened: Opened) -> None:
        self.path = opened.path
        self._db, self._lock = opened.db, opened.lock
        self._stamp, self._head = opened.stamp, opened.head
        self.started: Started = opened.started
        self.objectives: tuple[Objective, ...] = self.started.objectives
        timed = self.started.latency
        self._standings = Standings(self.objectives, {timed.family: timed.objectives} if timed else None)
        self._tally: Tally | None = None
        self._children: dict[str, set[str]] | None = None

    # ---------------------------------------------------------------------------------------- opening and closing

    @classmethod
    def create(cls, path: Path, started: Started) -> Archive:
        """Begin the archive of a run in a directory, which is made, or in a file. The result can be appended to.

        Raises:
            ArchiveError: there is one already, or the place cannot be written.
        """
        return cls(opening.create(path, started))

    @classmethod
    def open(cls, path: Path, *, write: bool = False) -> Archive:
        """Open the archive of a run by its directory or its file.

        A database of an older schema has its tables folded anew from its log: in place when opened for writing, else
        in a temporary copy.

        Raises:
            ArchiveError: it is missing, damaged, foreign, newer than this program, or (to write) in use.
        """
        return cls(opening.existing(path, write=write))

    def close(self) -> None:
        """Close the database. The last to close leaves one file; a writer leaves all it wrote in that one."""
        if self._lock:
            database.settle(self._db)
        self._db.close()
        if self._lock:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ the log

    def append(self, *events: Event) -> None:
        """Add events to the log and what they mean to the tables, in one transaction.

        Raises:
            ArchiveError: the archive is open for reading, the disk is full, or the database is locked.
            pydantic.ValidationError, ValueError: an event could not be read back, or selects an unknown candidate.
        """
        if self._lock is None:
            raise ArchiveError(f"{self.path} was opened for reading; open it with write=True to append.")
        with database.transaction(self._db, self.path):
            entries = log.write(self._db, self._head, time.time(), events)
            for entry in entries:
                fold(self._db, entry)
        self._absorb(entries)

    @property
    def tip(self) -> tuple[int, str]:
        """The number and hash of the last row of the log."""
        self._refresh()
        return self._head

    def events(self, after: int = 0, kinds: Collection[str] | None = None) -> Iterator[Entry]:
        """The log after row number `after`, of all kinds or of some, oldest first."""
        self._refresh()
        with database.explained(self.path):
            yield from log.read(self._db, after, kinds)

    def verify(self) -> None:
        """Walk the hash chain, then fold the log into fresh tables and compare them with those that stand here.

        Raises:
            ArchiveError: naming the first row that is broken.
        """
        self._refresh()
        with database.transaction(self._db, self.path, "DEFERRED"):
            reading.verify(self._db, self.path, self.objectives)

    def rebuild(self) -> None:
        """Make every table but the log again, from the log.

        Raises:
            ArchiveError: the archive is open for reading, or its hash chain is broken.
        """
        if self._lock is None:
            raise ArchiveError(f"{self.path} was opened for reading; open it with write=True to rebuild it.")
        with database.transaction(self._db, self.path):
            reading.check_chain(self._db, self.path)
            reading.refold(self._db, self.objectives)
        self._forget()

    # --------------------------------------------------------------------------------------------- candidates

    def records(
        self,
        *,
        status: str | Collection[str] | None = None,
        valid: bool | None = None,
        operation: str | Collection[str] | None = None,
        limit: int | None = None,
        order: Order = "told",
    ) -> list[Record]:
        """The candidates, maybe only some.

        Args:
            status: one status or several.
            valid: only valid ones, or only others.
            operation: one operation or several.
            limit: at most so many.
            order: as they were told, newest first, or by the hypervolume they gained.
        """
        return self._records(reading.where(status=status, valid=valid, operation=operation), order, limit)

    def record(self, prefix: str) -> Record:
        """The candidate whose id begins so.

        Raises:
            UnknownName: none does; the nearest is offered.
            BadInput: several do, or no character is given.
        """
        self._refresh()
        with database.explained(self.path):
            id = reading.resolve(self._db, prefix)
        return self._records(reading.among([id]))[0]

    def told(self, prefix: str) -> Told:
        """The event that told the candidate whose id begins so: all that its record holds of it. Raises as `record`.

        By a whole id this is the quickest way to a program: one query, and no table but the log is read.
        """
        self._refresh()
        query = "SELECT event FROM events WHERE seq = (SELECT seq FROM candidates WHERE id = ?)"
        with database.explained(self.path):
            row = self._db.execute(query, (prefix,)).fetchone()
            row = row or self._db.execute(query, (reading.resolve(self._db, prefix),)).fetchone()
        return Told.model_validate(json.loads(row[0]))

    def summaries(self, after: int = 0) -> list[Summary]:
        """The candidates without programs and verdicts; with `after`, those that later rows of the log changed."""
        self._refresh()
        with database.transaction(self._db, self.path, "DEFERRED"):
            return brief.summaries(self._db, after)

    def to_dataframe(self) -> Any:
        """A pandas table with one row an operating point. Raises `MissingDependency` where pandas is not installed."""
        from vevolve.archive.frame import dataframe

        return dataframe(self)

    def containing(self, text: str) -> set[str]:
        """The ids of the candidates whose program contains a text, whatever its case."""
        self._refresh()
        with database.explained(self.path):
            return brief.containing(self._db, text)

    def duplicate_of(self, candidate: Candidate) -> str | None:
        """The id of the first candidate with the same text or the same syntax tree; None where there is none."""
        self._refresh()
        tree_hash, _ = traits(candidate)
        query = "SELECT id FROM candidates WHERE id = ? OR tree_hash = ? ORDER BY seq LIMIT 1"
        with database.explained(self.path):
            row = self._db.execute(query, (candidate.id, tree_hash)).fetchone()
        return None if row is None else str(row[0])

    def children(self) -> dict[str, int]:
        """Candidate -> how many candidates were made from it, where any were."""
        self._refresh()
        if self._children is None:
            with database.explained(self.path):
                self._children = reading.children(self._db)
        return {parent: len(made) for parent, made in self._children.items()}

    def ancestors(self, id: str) -> list[Record]:
        """The line of first parents, nearest first, back to the seed."""
        self._refresh()
        query = "SELECT parent FROM parents WHERE candidate = ? AND position = 0"
        with database.explained(self.path):
            line = [reading.resolve(self._db, id)]
            while (row := self._db.execute(query, line[-1:]).fetchone()) and row[0] not in line:
                line.append(row[0])
        found = {record.id: record for record in self._records(reading.among(line[1:]))}
        return [found[id] for id in line[1:] if id in found]

    # ------------------------------------------------------------------------------------------------- fronts

    def front(self, split: str = "search", family: str = "") -> list[Record]:
        """The candidates that own a point that no other dominates, references left out.

        The one whose points the front would miss most comes first. Each has its points on this split and family.
        """
        worth = self._standing(split, family).contributions()
        order = sorted(worth, key=lambda id: (-worth[id], id))
        found = {record.id: record for record in self._records(reading.among(order))}
        return [reading.narrowed(found[id], split, family) for id in order]

    def front_points(self, split: str = "search", family: str = "") -> list[tuple[Record, Point]]:
        """The points that no other dominates, each with its candidate, in ascending order of the first objective."""
        best = set(self._standing(split, family).front())
        pairs = [
            (record, point)
            for record in self.front(split, family)
            for point in record.points
            if self._standings.loss(point) in best
        ]
        name = self.objectives_on(family)[0].name
        return sorted(pairs, key=lambda pair: (pair[1][name], pair[0].seq))

    def ranks(self, split: str = "search", family: str = "") -> dict[str, int]:
        """Candidate -> the best Pareto rank among its points, 1 for the front. Those without points are not there."""
        return self._standing(split, family).ranks()

    def hypervolume(self, split: str = "search", family: str = "", upto: int | None = None) -> float:
        """Of the front, now or as it was with the candidates of iterations up to `upto`."""
        if upto is None:
            return self._standing(split, family).hypervolume()
        return next((v for i, v in reversed(self.hypervolume_curve(split, family)) if i <= upto), 0.0)

    def gain(self, points: Iterable[Point], split: str = "search", family: str = "") -> float:
        """The hypervolume that these points would add now. Points of other families are left out."""
        losses = [self._standings.loss(point) for point in points if point.family == family]
        return self._standing(split, family).gain(loss for loss in losses if loss is not None)

    def hypervolume_curve(self, split: str = "search", family: str = "") -> list[tuple[int, float]]:
        """Iteration -> hypervolume with all candidates up to it, for each iteration that brought points."""
        self._refresh()
        with database.explained(self.path):
            rows = reading.losses(self._db, self.objectives_on(family), split, family)
        return reading.curve(rows, self._standings.reference(family))

    def objectives_on(self, family: str = "") -> tuple[Objective, ...]:
        """What the points of a family are ranked on: those that were timed have objectives of their own."""
        return self._standings.objectives(family)

    def measured(self) -> dict[str, Measured]:
        """Candidate -> its latest measurement on the GPU, of those that were timed."""
        events = (entry.event for entry in self.events(kinds=("measured",)))
        return {event.candidate: event for event in events if isinstance(event, Measured)}

    def families(self) -> list[str]:
        """The families of workloads that any point belongs to, the main one (which has no name) left out."""
        self._refresh()
        with database.explained(self.path):
            rows = self._db.execute("SELECT DISTINCT family FROM points WHERE family != '' ORDER BY family")
            return [family for (family,) in rows]

    # ------------------------------------------------------------------------------------------- the run so far

    def prompts(self, id: str) -> list[Proposed]:
        """The exchanges with a proposer that made a candidate, in order; none for a seed."""
        record = self.record(id)
        return [] if record.operation == "seed" else self.proposed(record.iteration)

    def proposed(self, iteration: int) -> list[Proposed]:
        """The exchanges of an iteration, in order: a resumed run uses again what was paid for."""
        self._refresh()
        query = "SELECT event FROM events JOIN proposals USING (seq) WHERE proposals.iteration = ? ORDER BY seq"
        with database.explained(self.path):
            rows = self._db.execute(query, (iteration,)).fetchall()
        return [event for (text,) in rows if isinstance(event := log.parse(text), Proposed)]

    def unfinished(self) -> list[Asked]:
        """The iterations that were asked and never told: what a resumed run does again."""
        self._refresh()
        query = """
            SELECT event FROM events JOIN asks USING (seq) WHERE NOT EXISTS (
                SELECT 1 FROM tells WHERE tells.iteration = asks.iteration
                AND (tells.operation = 'seed') = (asks.operation = 'seed'))
            ORDER BY asks.iteration"""
        with database.explained(self.path):
            rows = self._db.execute(query).fetchall()
        return [event for (text,) in rows if isinstance(event := log.parse(text), Asked)]

    @property
    def head(self) -> int:
        """The number of the log's last row."""
        self._refresh()
        return self._head[0]

    def totals(self) -> Totals:
        """What was done and spent."""
        self._refresh()
        if self._tally is None:
            with database.transaction(self._db, self.path, "DEFERRED"):
                self._tally = Tally(self._db)
        return self._tally.totals()

    def seconds(self) -> float:
        """Seconds of running in all sessions, from the first event of each to its last."""
        self._refresh()
        with database.explained(self.path):
            return reading.seconds(self._db)

    def ended(self) -> Ended | None:
        """How the last session ended; None where it has not, or was killed."""
        self._refresh()
        last = None
        for entry in self.events(kinds=("started", "resumed", "ended")):
            last = entry.event
        return last if isinstance(last, Ended) else None

    # ------------------------------------------------------------------------------------------ kept in memory

    def _records(
        self, condition: tuple[str, Sequence[object]], order: Order = "told", limit: int | None = None
    ) -> list[Record]:
        self._refresh()
        with database.transaction(self._db, self.path, "DEFERRED"):
            return reading.records(self._db, condition, self._verdict_text, order, limit)

    def _verdict_text(self, id: str, split: str) -> str | None:
        with database.explained(self.path):
            return reading.verdict_text(self._db, id, split)

    def _standing(self, split: str, family: str) -> Standing:
        self._refresh()
        with database.explained(self.path):
            return self._standings.of(self._db, split, family)

    def _refresh(self) -> None:
        """Catch up with a writer elsewhere. What is kept in memory takes in only what is new."""
        if self._lock is not None:
            return
        with database.explained(self.path):
            live, *_ = self._stamp
            if not live and (found := database.stamp(self.path)) != self._stamp:
                self._db.close()
                self._db = database.connect_reader(self.path)
                self._stamp = (found[0] and database.has_writer(self.path), *found[1:])
            if log.head(self._db)[0] != self._head[0]:
                self._absorb(list(log.read(self._db, self._head[0])))

    def _absorb(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._head = (entry.seq, entry.hash)
            if self._tally:
                self._tally.add(entry)
            match event := entry.event:
                case Told():
                    self._standings.told(self._db, entry.seq, event)
                    if self._children is not None:
                        for parent, made in reading.children(self._db, entry.seq).items():
                            self._children.setdefault(parent, set()).update(made)
                case Selected():
                    self._standings.selected(self._db, event)
                case Measured():
                    self._standings.measured(self._db, event)
                case _:
                    pass

    def _forget(self) -> None:
        self._standings.forget()
        self._tally = self._children = None
