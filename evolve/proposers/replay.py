"""`replay:RUN`: the recorded replies of another run, which cost nothing and need no key.

The reply to (iteration, attempt) is what that run got for the same numbers. Where the question is another one, as after
a change of the loop, the reply is given all the same, and a warning is logged that says where they part.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from vevolve.archive import Archive
from vevolve.archive.events import Proposed
from vevolve.archive.log import PRUNED
from vevolve.errors import BadInput, UnknownName
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed, Reply, Request
from vevolve.evolve.proposers.settings import ProposerSettings
from vevolve.evolve.run import find_run

log = logging.getLogger(__name__)


class Replay:
    """Answers from a record. Safe to use from several threads."""

    def __init__(self, run: str, recorded: Mapping[tuple[int, int], Proposed]) -> None:
        self.name = f"replay:{run}"
        self._run, self._recorded = run, recorded

    def propose(self, request: Request) -> Reply:
        """The recorded reply.

        Raises:
            ProposalFailed: none was recorded, or the record is of a failure.
        """
        event = self._recorded.get((request.iteration, request.attempt))
        place = f"iteration {request.iteration}, attempt {request.attempt}"
        if event is None:
            raise ProposalFailed(f"Run {self._run} holds no reply for {place}.")
        if not event.reply:
            raise ProposalFailed(f"Run {self._run} got no reply for {place}: {event.error or 'it is empty'}")
        if difference := _difference(event, request.prompt):
            log.warning("replay of %s: the question of %s is another one: %s", self._run, place, difference)
        return Reply(text=event.reply, model=event.model)

    def estimate(self, prompt: Prompt) -> float | None:
        """Nothing."""
        return 0.0

    def close(self) -> None:
        """Nothing is open."""


def _difference(event: Proposed, prompt: Prompt) -> str:
    """The first line on which the recorded question and this one part; empty where they are the same.

    Proposers that read no prompt leave none in the record, so there is nothing to compare.
    """
    before, now = f"{event.system}\n{event.user}", f"{prompt.system}\n{prompt.user}"
    if before == now or not before.strip():
        return ""
    lines = zip([*before.split("\n"), ""], [*now.split("\n"), ""], strict=False)
    number, (old, new) = next((i, pair) for i, pair in enumerate(lines, start=1) if pair[0] != pair[1])
    return f"line {number} was {old[:80]!r} and is {new[:80]!r}"


def absolute(argument: str) -> str:
    """The absolute path of the run `argument`, or that name as it is where there is none."""
    try:
        return str(find_run(argument).path.absolute())
    except UnknownName:
        return argument


def open(argument: str, settings: ProposerSettings) -> Replay:
    """The replies of the run `argument`: its name, a unique part of it, or its directory.

    Raises:
        BadInput: no run is named, or its replies were pruned.
        UnknownName: there is no such run.
        ArchiveError: its archive cannot be read.
    """
    if not argument:
        raise BadInput("A run to replay is named replay:RUN; found no name.")
    with Archive.open(find_run(argument).archive) as archive:
        events = [entry.event for entry in archive.events(kinds={"proposed"})]
    if any(isinstance(event, Proposed) and event.reply == PRUNED for event in events):
        raise BadInput(f"The replies of run {argument} were pruned; replay another run, or a copy made before.")
    recorded = {(event.iteration, event.attempt): event for event in events if isinstance(event, Proposed)}
    return Replay(argument, recorded)
