"""What an earlier session left: a fold of the event log."""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass

from vevolve.archive import Archive
from vevolve.archive.events import CERTIFICATION, Asked, Ended, Proposed, Selected, Told
from vevolve.evolve.budget import Clock, Dollars
from vevolve.evolve.flights import Selection
from vevolve.evolve.history import History
from vevolve.evolve.propose import tree_hash
from vevolve.types import Candidate


@dataclass(frozen=True)
class Past:
    """What is still to be done.

    Attributes:
        asked: iteration -> how it was asked, for those that were not told.
        gained: candidates that still wait for `select`, in order.
    """

    asked: dict[int, Asked]
    gained: tuple[Selection, ...]


def recover(
    archive: Archive, known: History, dollars: Dollars, clock: Clock, *, free: Collection[str], least_gain: float
) -> Past:
    """Fold the log into what is known and spent.

    Args:
        archive: the run's.
        known: learns what was told.
        dollars: gets what was spent.
        clock: gets the seconds of earlier sessions.
        free: names of free proposers.
        least_gain: the hypervolume that a candidate must have added, to be examined on `select`.
    """
    gained: dict[str, Selection] = {}
    began = last = 0.0
    for entry in archive.events():
        if entry.event.kind in CERTIFICATION:  # no part of a session, and often long after one
            continue
        match event := entry.event:
            case Told():
                known.learn(event, candidate := candidate_of(event))
                if event.proposer in free and event.verdict.status != "unapplied":
                    known.draw(tree_hash(candidate))
                if event.hypervolume_gain > least_gain:
                    gained[candidate.id] = Selection(event.iteration, candidate.id)
            case Selected():
                gained.pop(event.candidate, None)
            case Proposed():
                dollars.spent += event.usd or 0.0
            case Asked() | Ended():
                pass
            case _:
                clock.earlier += last - began
                began = entry.time
        last = entry.time
    asked = {event.iteration: event for event in archive.unfinished() if event.iteration > 0}
    return Past(asked, tuple(gained.values()))


def candidate_of(told: Told) -> Candidate:
    """The program that was told."""
    return Candidate(told.source, None if told.params is None else base64.b64decode(told.params))
