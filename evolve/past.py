"""What an earlier session left: a fold of the event log."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from typing import Protocol

from vevolve.archive import Archive
from vevolve.archive.events import CERTIFICATION, Asked, Event, Proposed, Resumed, Started, Told
from vevolve.evolve.budget import Clock, Dollars
from vevolve.evolve.history import History
from vevolve.evolve.propose import tree_hash
from vevolve.types import Candidate


class Fold(Protocol):
    """What follows from the log, event by event."""

    def take(self, event: Event) -> None:
        """Take in the next event."""
        ...


def recover(
    archive: Archive, known: History, folds: Sequence[Fold], dollars: Dollars, clock: Clock, *, free: Collection[str]
) -> dict[int, Asked]:
    """Fold the log into what is known and spent. Returns how iterations were asked that were not told.

    Args:
        archive: the run's.
        known: learns what was told.
        folds: take in every event.
        dollars: gets what was spent.
        clock: gets the seconds of earlier sessions.
        free: names of free proposers.
    """
    began = last = 0.0
    for entry in archive.events():
        if entry.event.kind in CERTIFICATION:  # no part of a session, and often long after one
            continue
        for fold in folds:
            fold.take(entry.event)
        match event := entry.event:
            case Told():
                known.learn(event, candidate := candidate_of(event))
                if event.proposer in free and event.verdict.status != "unapplied":
                    known.draw(tree_hash(candidate))
            case Proposed():
                dollars.spent += event.usd or 0.0
            case Started() | Resumed():
                clock.earlier += last - began
                began = entry.time
            case _:
                pass
        last = entry.time
    return {event.iteration: event for event in archive.unfinished() if event.iteration > 0}


def candidate_of(told: Told) -> Candidate:
    """The program that was told."""
    return Candidate(told.source, None if told.params is None else base64.b64decode(told.params))
